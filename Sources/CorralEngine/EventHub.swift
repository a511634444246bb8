internal import CorralKernel
internal import CorralEvents
internal import CorralPolicy
internal import Synchronization

/// Hands every event to every reader whose filter it passes. Called from the ring's thread and from the engine.
final class EventHub: Sendable {
    private struct Reader: Sendable {
        let filter: EventFilter
        let queue: EventQueue
        var lost: UInt64 = 0
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

    func open(
        _ filter: EventFilter, buffer: Int, mark: CheckedContinuation<Journal.Position, Never>? = nil
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
            state.readers[state.next] = Reader(filter: filter, queue: queue)
            return state.next
        }
        return Subscription(queue) { [weak self] in
            _ = self?.state.withLock { $0.readers.removeValue(forKey: number) }
        }
    }

    func learn(_ known: Known, slot: UInt32) {
        state.withLock { $0.known[slot] = known }
    }

    func learn(policy: Terms, number: UInt32, slot: UInt32) {
        state.withLock { $0.known[slot]?.policies[number] = policy }
    }

    func rename(_ reference: SandboxReference, slot: UInt32) {
        state.withLock { $0.known[slot]?.context.sandbox = reference }
    }

    func forget(slot: UInt32) {
        _ = state.withLock { $0.known.removeValue(forKey: slot) }
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

    /// From the reader of the trace. Decoded only where somebody wants it.
    func receive(_ record: WireTrace) {
        let found = state.withLock { state -> DecisionContext? in
            guard let known = state.known[record.slot], known.epoch == record.epoch else { return nil }
            let sandbox = known.context.sandbox
            let isWanted =
                record.type != .syscall
                || state.readers.values.contains { $0.filter.mayMatch(record.type, of: sandbox) }
            guard isWanted else { return nil }
            return known.context
        }
        guard var context = found else { return }
        context.bootTime = Clock.realtimeAtBoot()
        publish(record.event(in: context))
    }

    func publish(_ event: Event) {
        let type = event.type
        state.withLock { state in
            state.statistics.published[type, default: 0] &+= 1
            if type != .syscall { state.journal?.append(event) }
            for (number, reader) in state.readers where reader.filter.matches(event) {
                var notice: Event?
                if reader.lost > 0 {
                    notice = Event(
                        time: event.time, seq: 0, sandbox: nil, body: .lost(Loss(count: reader.lost, place: .reader))
                    )
                }
                if reader.queue.add(event, after: notice) {
                    state.readers[number]?.lost = 0
                    state.statistics.delivered &+= 1
                } else {
                    state.readers[number]?.lost = reader.lost + 1
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
