internal import CorralKernel
internal import Dispatch
internal import Synchronization

/// Runs blocking work away from the cooperative pool, at most so many pieces at a time.
final class WorkQueue: Sendable {
    private struct State {
        /// Lanes in which nothing runs.
        var idle: [DispatchQueue]
        /// First those that somebody waits for.
        var urgent: [@Sendable () -> Void] = []
        var others: [@Sendable () -> Void] = []
    }

    private let state: Mutex<State>

    init(_ label: String, width: Int = 1) {
        // Serial queues have threads of their own. Those of concurrent ones are shared, as many as there are processors, and one
        // that blocks is made good for only after a second.
        state = Mutex(State(idle: (0..<max(1, width)).map { _ in DispatchQueue(label: label) }))
    }

    /// - Parameter isUrgent: it goes before all that is not.
    func run<Value: Sendable>(isUrgent: Bool = true, _ work: @escaping @Sendable () throws -> Value) async throws
        -> Value
    {
        try await withCheckedThrowingContinuation { continuation in
            let piece: @Sendable () -> Void = { continuation.resume(with: Result { try work() }) }
            let lane = state.withLock { state in
                if let lane = state.idle.popLast() { return lane as DispatchQueue? }
                if isUrgent { state.urgent.append(piece) } else { state.others.append(piece) }
                return nil
            }
            if let lane { lane.async { self.work(piece, in: lane) } }
        }
    }

    private func work(_ first: @Sendable () -> Void, in lane: DispatchQueue) {
        Scheduling.becomeBackground()
        first()
        while let next = next(in: lane) { next() }
    }

    /// Nil: there is no more, and the lane is idle.
    private func next(in lane: DispatchQueue) -> (@Sendable () -> Void)? {
        state.withLock { state in
            if !state.urgent.isEmpty { return state.urgent.removeFirst() }
            if !state.others.isEmpty { return state.others.removeFirst() }
            state.idle.append(lane)
            return nil
        }
    }
}
