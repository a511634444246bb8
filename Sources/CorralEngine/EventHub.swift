internal import CorralKernel
internal import CorralEvents
internal import CorralPolicy
internal import Synchronization

/// Hands every event to every reader whose filter it passes. Called from the ring's thread and from the engine.
final class EventHub: Sendable {
    private struct Reader: Sendable {
        let filter: EventFilter
        let queue: EventQueue
        /// Calls that it takes as the kernel's records; nil: it takes events alone.
        let records: TraceSelection?
    }

    /// Which calls of a sandbox a reader wants.
    struct CallFilter: Sendable {
        /// By row of the counts; nil: all.
        var rows: [Bool]?
        var isRefusedOnly: Bool

        func includes(_ record: WireTrace) -> Bool {
            if isRefusedOnly, !record.isRefused { return false }
            return rows.map { $0[record.row] } ?? true
        }
    }

    struct RecordReader: Sendable {
        var number: UInt64
        var queue: EventQueue
        var wanted: CallFilter
    }

    /// Who wants the calls of a sandbox.
    struct CallRoute: Sendable {
        var context: DecisionContext
        var readers: [RecordReader]
        /// Somebody wants them as events.
        var wantsEvents: Bool
    }

    /// What the kernel's records say by number only.
    struct Known: Sendable {
        var epoch: UInt64
        var context: DecisionContext
        /// By policy number.
        var policies: [UInt32: Terms]
        let refusals: RefusalLog
    }

    /// A policy that a number in a record means.
    struct Terms: Sendable {
        var reference: PolicyReference
        var policy: Policy
        var host: HostContext
    }

    private struct State: Sendable {
        var journal: Journal?
        var statistics = EventStatistics()
        var readers: [UInt64: Reader] = [:]
        var next: UInt64 = 0
        var known: [UInt32: Known] = [:]
    }

    private let state = Mutex(State())
    private let changes = Atomic<UInt64>(0)
    private let names = Mutex<SandboxNames?>(nil)

    /// From where the names of remotes are known. Set once.
    func resolveNames(by names: SandboxNames) {
        self.names.withLock { $0 = names }
    }

    /// Where all events but `syscall` go from now on. Set once.
    func keep(in journal: Journal) {
        state.withLock { $0.journal = journal }
    }

    var statistics: EventStatistics { state.withLock { $0.statistics } }

    /// Events that the kernel had no room for.
    func count(kernelLoss count: UInt64) {
        state.withLock { $0.statistics.lostInKernel &+= count }
    }

    /// `mark`: told how far the journal reaches at the moment when the subscription begins.
    func subscribe(
        _ filter: EventFilter, buffer: Int, mark: CheckedContinuation<Journal.Position, Never>? = nil
    ) -> AsyncStream<Event> {
        let subscription = open(filter, buffer: buffer, mark: mark)
        return AsyncStream(unfolding: { await subscription.queue.next() })
    }

    /// - Parameter records: calls that the reader takes as records; of others it gets none.
    func open(
        _ filter: EventFilter, buffer: Int, records: TraceSelection? = nil,
        mark: CheckedContinuation<Journal.Position, Never>? = nil
    ) -> Subscription {
        let queue = EventQueue(capacity: buffer)
        let number = state.withLock { state in
            if let mark {
                if let journal = state.journal {
                    journal.mark(mark)
                } else {
                    mark.resume(returning: Journal.Position(record: 0, unwritten: 0))
                }
            }
            state.next += 1
            state.readers[state.next] = Reader(filter: filter, queue: queue, records: records)
            return state.next
        }
        changed()
        return Subscription(queue) { [weak self] in
            _ = self?.state.withLock { $0.readers.removeValue(forKey: number) }
            self?.changed()
        }
    }

    private func changed() {
        changes.add(1, ordering: .releasing)
    }

    /// Another number each time when a route may have become another.
    var version: UInt64 { changes.load(ordering: .acquiring) }

    /// Numbers of those who take records.
    var recordReaders: Set<UInt64> {
        state.withLock { Set($0.readers.filter { $0.value.records != nil }.keys) }
    }

    /// Nil when there is no such sandbox.
    func route(slot: UInt32, epoch: UInt64) -> CallRoute? {
        state.withLock { state in
            guard let known = state.known[slot], known.epoch == epoch else { return nil }
            let sandbox = known.context.sandbox
            var route = CallRoute(context: known.context, readers: [], wantsEvents: false)
            for (number, reader) in state.readers where reader.filter.mayMatch(.syscall, of: sandbox) {
                guard let selection = reader.records else {
                    route.wantsEvents = true
                    continue
                }
                guard let wanted = reader.filter.calls(of: selection) else { continue }
                route.readers.append(RecordReader(number: number, queue: reader.queue, wanted: wanted))
            }
            return route
        }
    }

    func count(calls: UInt64) {
        state.withLock { $0.statistics.published[.syscall, default: 0] &+= calls }
    }

    func count(delivered: UInt64, lostByReaders: UInt64) {
        state.withLock { state in
            state.statistics.delivered &+= delivered
            state.statistics.lostByReaders &+= lostByReaders
        }
    }

    func learn(_ known: Known, slot: UInt32) {
        state.withLock { $0.known[slot] = known }
        changed()
    }

    func learn(policy: Terms, number: UInt32, slot: UInt32) {
        state.withLock { $0.known[slot]?.policies[number] = policy }
    }

    func rename(_ reference: SandboxReference, slot: UInt32) {
        state.withLock { $0.known[slot]?.context.sandbox = reference }
        changed()
    }

    func forget(slot: UInt32) {
        _ = state.withLock { $0.known.removeValue(forKey: slot) }
        changed()
    }

    func receive(_ decision: WireDecision) {
        let name = decision.remote.flatMap { remote in
            names.withLock { $0 }?.name(of: remote, slot: decision.slot, epoch: decision.epoch)
        }
        let found: (event: Event, refusals: RefusalLog)? = state.withLock { state in
            guard let known = state.known[decision.slot], known.epoch == decision.epoch else { return nil }
            var context = known.context
            context.bootTime = Clock.realtimeAtBoot()
            context.remoteName = name
            let terms = decision.policy.flatMap { known.policies[$0] }
            context.policy = terms?.reference
            context.rules = terms?.policy
            context.host = terms?.host
            return (decision.event(in: context), known.refusals)
        }
        guard let found else { return }
        publish(found.event)
        found.refusals.add(found.event)
    }

    func publish(_ event: Event) {
        let type = event.type
        state.withLock { state in
            // Calls are counted where they come from.
            if type != .syscall {
                state.statistics.published[type, default: 0] &+= 1
                state.journal?.append(event)
            }
            for reader in state.readers.values where type != .syscall || reader.records == nil {
                guard reader.filter.matches(event) else { continue }
                if reader.queue.add(event) {
                    state.statistics.delivered &+= 1
                } else {
                    state.statistics.lostByReaders &+= 1
                }
            }
        }
    }

    func finish() {
        let readers = state.withLock { state in
            defer { state.readers = [:] }
            return state.readers.values.map(\.queue)
        }
        for reader in readers { reader.finish() }
    }
}

extension EventFilter {
    /// Which calls of a sandbox pass, of those that are selected; nil for none.
    fileprivate func calls(of selection: TraceSelection) -> EventHub.CallFilter? {
        guard destinations.isEmpty, verdicts.isEmpty || verdicts.contains(.deny),
            reasons.isEmpty || reasons.contains(.syscallNotAllowed)
        else { return nil }
        var rows: [Bool]?
        switch selection {
        // What is told at all has been chosen in the kernel.
        case .all, .first, .firstAnd: break
        case .none, .counts: return nil
        case .calls:
            var wanted = [Bool](repeating: false, count: Int(TraceRows.count))
            for row in TraceRows.rows(of: selection) { wanted[Int(row)] = true }
            rows = wanted
        }
        return EventHub.CallFilter(rows: rows, isRefusedOnly: !verdicts.isEmpty || !reasons.isEmpty)
    }
}
