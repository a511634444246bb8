internal import CorralKernel
internal import Synchronization

/// The pipes of one command, and how it ended.
final class CommandSession: Sendable {
    struct Pipes: Sendable {
        var stdin: SharedDescriptor?
        var stdout: SharedDescriptor?
        var stderr: SharedDescriptor?
    }

    private struct State: Sendable {
        var pipes: Pipes
        /// Counts holders: an old one's calls do nothing.
        var holder: UInt64 = 0
        var result: CommandResult?
        var waiting: [CheckedContinuation<Void, Never>] = []
        var task: (@Sendable () -> Void)?
    }

    private let state: Mutex<State>
    private let poller: Poller

    init(pipes: Pipes, poller: Poller) throws(KernelError) {
        for pipe in [pipes.stdin, pipes.stdout, pipes.stderr] {
            if let pipe { try Pipe.makeNonBlocking(pipe) }
        }
        state = Mutex(State(pipes: pipes))
        self.poller = poller
    }

    var result: CommandResult? { state.withLock { $0.result } }

    func finish(_ result: CommandResult) {
        let waiting = state.withLock { state in
            if state.result == nil { state.result = result }
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    /// The next piece of output; nil when `holder` no longer holds the streams.
    func next(holder: UInt64) async throws -> CommandStreams.Chunk? {
        while true {
            try Task.checkCancellation()
            // Not stdin: held here while we wait, it would stay open, and the command would not see its end.
            let (current, stdout, stderr, result) = state.withLock {
                ($0.holder, $0.pipes.stdout, $0.pipes.stderr, $0.result)
            }
            guard current == holder else { return nil }
            if let stdout {
                switch try Pipe.read(stdout, capacity: 65_536) {
                case .bytes(let bytes): return .stdout(bytes)
                case .end: state.withLock { $0.pipes.stdout = nil }
                case .wouldBlock: break
                }
            }
            if let stderr {
                switch try Pipe.read(stderr, capacity: 65_536) {
                case .bytes(let bytes): return .stderr(bytes)
                case .end: state.withLock { $0.pipes.stderr = nil }
                case .wouldBlock: break
                }
            }
            let open = state.withLock { [$0.pipes.stdout, $0.pipes.stderr].compactMap { $0 } }
            if open.isEmpty {
                if let result { return .exit(result) }
                await untilFinished()
            } else {
                await poller.wait(open.map { ($0, .readable) })
            }
        }
    }

    private func untilFinished() async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.result != nil || Task.isCancelled { return true }
                    state.waiting.append(continuation)
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            wakeAll()
        }
    }

    private func wakeAll() {
        let waiting = state.withLock { state in
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    func write(_ bytes: [UInt8], holder: UInt64) async throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            try Task.checkCancellation()
            let (current, stdin) = state.withLock { ($0.holder, $0.pipes.stdin) }
            guard current == holder, let stdin else {
                throw EngineError(.conflict, "the command's stdin is closed")
            }
            let count = try Pipe.write(stdin, rest)
            rest = rest.dropFirst(count)
            if count == 0 { await poller.wait([(stdin, .writable)]) }
        }
    }

    func closeStdin(holder: UInt64) {
        state.withLock { if $0.holder == holder { $0.pipes.stdin = nil } }
    }

    func take() -> UInt64 {
        state.withLock { state in
            state.holder += 1
            return state.holder
        }
    }

    func release(holder: UInt64) {
        state.withLock { if $0.holder == holder { $0.holder += 1 } }
        wakeAll()
    }
}

/// The output of one holder of a session.
struct CommandOutput: AsyncSequence, Sendable {
    typealias Element = CommandStreams.Chunk
    typealias Failure = any Error

    let session: CommandSession
    let holder: UInt64

    struct Iterator: AsyncIteratorProtocol {
        let session: CommandSession
        let holder: UInt64
        var isOver = false

        mutating func next() async throws -> CommandStreams.Chunk? {
            if isOver { return nil }
            let chunk = try await session.next(holder: holder)
            if case .exit? = chunk { isOver = true }
            return chunk
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(session: session, holder: holder) }
}
