internal import CorralKernel
internal import CorralEvents
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
        var policies: [UInt32: PolicyReference]
        let refusals: RefusalLog
    }

    private struct State: Sendable {
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

    func subscribe(_ filter: EventFilter, buffer: Int) -> AsyncStream<Event> {
        let subscription = open(filter, buffer: buffer)
        return AsyncStream(unfolding: { await subscription.queue.next() })
    }

    func open(_ filter: EventFilter, buffer: Int) -> Subscription {
        let queue = EventQueue(capacity: buffer)
        let number = state.withLock { state in
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

    func learn(policy: PolicyReference, number: UInt32, slot: UInt32) {
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
            context.policy = decision.policy.flatMap { known.policies[$0] }
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
        state.withLock { state in
            for (number, reader) in state.readers where reader.filter.matches(event) {
                var notice: Event?
                if reader.lost > 0 {
                    notice = Event(
                        time: event.time, seq: 0, sandbox: nil, body: .lost(Loss(count: reader.lost, place: .reader))
                    )
                }
                let isTaken = reader.queue.add(event, after: notice)
                state.readers[number]?.lost = isTaken ? 0 : reader.lost + 1
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
