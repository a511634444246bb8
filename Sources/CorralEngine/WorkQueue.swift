internal import Dispatch
internal import Synchronization

/// Runs blocking work away from the cooperative pool, at most so many pieces at a time.
final class WorkQueue: Sendable {
    private struct State {
        var running = 0
        /// First those that somebody waits for.
        var urgent: [@Sendable () -> Void] = []
        var others: [@Sendable () -> Void] = []
    }

    private let queue: DispatchQueue
    private let width: Int
    private let state = Mutex(State())

    init(_ label: String, width: Int = 1) {
        self.width = max(1, width)
        queue = DispatchQueue(label: label, attributes: width > 1 ? .concurrent : [])
    }

    /// - Parameter isUrgent: it goes before all that is not.
    func run<Value: Sendable>(isUrgent: Bool = true, _ work: @escaping @Sendable () throws -> Value) async throws
        -> Value
    {
        try await withCheckedThrowingContinuation { continuation in
            let piece: @Sendable () -> Void = { continuation.resume(with: Result { try work() }) }
            let starts = state.withLock { state in
                guard state.running < width else {
                    if isUrgent { state.urgent.append(piece) } else { state.others.append(piece) }
                    return false
                }
                state.running += 1
                return true
            }
            if starts { queue.async { self.work(piece) } }
        }
    }

    private func work(_ first: @Sendable () -> Void) {
        first()
        while let next = next() { next() }
    }

    /// Nil: there is no more, and one piece fewer runs.
    private func next() -> (@Sendable () -> Void)? {
        state.withLock { state in
            if !state.urgent.isEmpty { return state.urgent.removeFirst() }
            if !state.others.isEmpty { return state.others.removeFirst() }
            state.running -= 1
            return nil
        }
    }
}
