internal import Synchronization

/// How a command ended, once it has: set once, waited for by any number.
final class CommandEnding: Sendable {
    private struct State: Sendable {
        var result: CommandResult?
        var waiting: [UInt64: CheckedContinuation<CommandResult?, Never>] = [:]
        var next: UInt64 = 0
    }

    private let state = Mutex(State())

    var result: CommandResult? { state.withLock { $0.result } }

    /// The first result counts.
    func finish(_ result: CommandResult) {
        let waiting = state.withLock { state in
            guard state.result == nil else { return state.waiting }
            state.result = result
            defer { state.waiting = [:] }
            return state.waiting
        }
        for continuation in waiting.values { continuation.resume(returning: result) }
    }

    /// Waits for it. Throws `CancellationError` when the task is cancelled.
    func wait() async throws -> CommandResult {
        let number = state.withLock { state in
            state.next += 1
            return state.next
        }
        let result = await withTaskCancellationHandler {
            await withCheckedContinuation { (continuation: CheckedContinuation<CommandResult?, Never>) in
                let (isOver, result) = state.withLock { state in
                    if state.result != nil || Task.isCancelled { return (true, state.result) }
                    state.waiting[number] = continuation
                    return (false, nil)
                }
                if isOver { continuation.resume(returning: result) }
            }
        } onCancel: {
            state.withLock { $0.waiting.removeValue(forKey: number) }?.resume(returning: nil)
        }
        guard let result else { throw CancellationError() }
        return result
    }
}
