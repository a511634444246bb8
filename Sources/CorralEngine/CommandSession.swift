internal import CorralKernel
internal import Synchronization

/// The streams of one command. A task of its own takes what the command writes and hands it to every reader; it takes no
/// more while one of them lags behind, so that a reader that stops blocks the command.
final class CommandSession: Sendable {
    struct Pipes: Sendable {
        var stdin: SharedDescriptor?
        var stdout: SharedDescriptor?
        var stderr: SharedDescriptor?
        /// stdin and stdout are the master of one; its end of input is a character.
        var isTerminal = false
    }

    /// Bytes that may wait for one reader.
    private static let queueLimit = 512 << 10
    private static let smallRead = 64 << 10
    private static let largeRead = 256 << 10
    /// ^D, as a terminal is set at first.
    private static let endOfInput: UInt8 = 4

    fileprivate struct Reader: Sendable {
        var queue: [CommandStreams.Chunk] = []
        var bytes = 0
        var waiting: CheckedContinuation<Void, Never>?
    }

    fileprivate struct State: Sendable {
        var pipes: Pipes
        var onOver: (@Sendable () -> Void)?
        var readers: [UInt64: Reader] = [:]
        var nextReader: UInt64 = 0
        /// The reader that may write stdin.
        var writer: UInt64?
        var isPumping = false
        /// Everything has been handed over, `exit` too.
        var isOver = false
        var pump: CheckedContinuation<Void, Never>?
        /// Something has changed since the pump last looked.
        var isChanged = false
        var failure: KernelError?

        var isFull: Bool { readers.values.contains { $0.bytes >= queueLimit } }
    }

    let ending = CommandEnding()
    let log: OutputLog?
    private let state: Mutex<State>
    private let poller: Poller

    /// - Parameter drains: output is taken although nobody reads it; otherwise it stays in the pipes until the first reader
    ///   comes, who gets all of it.
    init(pipes: Pipes, poller: Poller, log: OutputLog?, drains: Bool) throws(KernelError) {
        for pipe in [pipes.stdin, pipes.stdout, pipes.stderr] {
            if let pipe { try Pipe.makeNonBlocking(pipe) }
        }
        state = Mutex(State(pipes: pipes))
        self.poller = poller
        self.log = log
        if drains { startPump() }
    }

    func finish(_ result: CommandResult) {
        ending.finish(result)
        wakePump()
    }

    /// Calls `body` once everything that the command wrote has been taken.
    func whenOver(_ body: @escaping @Sendable () -> Void) {
        let isOver = state.withLock { state in
            if !state.isOver { state.onOver = body }
            return state.isOver
        }
        if isOver { body() }
    }

    // MARK: Readers

    enum Claim: Sendable {
        case stdin
        /// Only if nobody else has it.
        case stdinIfFree
        case nothing
    }

    /// A new reader, of what is written from now on; nil when it claims a stdin that is somebody else's.
    func attach(_ claim: Claim) -> UInt64? {
        let number: UInt64? = state.withLock { state in
            if claim == .stdin, state.writer != nil { return nil }
            state.nextReader += 1
            let number = state.nextReader
            var reader = Reader()
            if state.isOver, let result = ending.result { reader.queue = [.exit(result)] }
            state.readers[number] = reader
            if claim != .nothing, state.writer == nil { state.writer = number }
            return number
        }
        if number != nil { startPump() }
        return number
    }

    /// False when it had been detached before.
    func detach(_ number: UInt64) -> Bool {
        let reader = state.withLock { state in
            if state.writer == number { state.writer = nil }
            return state.readers.removeValue(forKey: number)
        }
        guard let reader else { return false }
        reader.waiting?.resume()
        wakePump()
        return true
    }

    /// What a reader finds.
    private struct Look {
        var isThere = false
        var chunk: CommandStreams.Chunk?
        var wasFull = false
        var failure: KernelError?
    }

    /// The next piece for a reader; nil when it has been detached.
    func next(_ number: UInt64) async throws -> CommandStreams.Chunk? {
        while true {
            try Task.checkCancellation()
            let look = state.withLock { state -> Look in
                guard state.readers[number] != nil else { return Look() }
                let wasFull = state.isFull
                let chunk = state.readers[number]?.take()
                return Look(isThere: true, chunk: chunk, wasFull: wasFull, failure: state.failure)
            }
            guard look.isThere else { return nil }
            if look.wasFull { wakePump() }
            if let chunk = look.chunk { return chunk }
            if let failure = look.failure { throw failure }
            await waitForOutput(number)
        }
    }

    private func waitForOutput(_ number: UInt64) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isReady = state.withLock { state in
                    guard let reader = state.readers[number], reader.queue.isEmpty, state.failure == nil,
                        !Task.isCancelled
                    else { return true }
                    state.readers[number]?.waiting = continuation
                    return false
                }
                if isReady { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.readers[number]?.takeWaiting() }?.resume()
        }
    }

    // MARK: Stdin

    /// Throws once the command has closed its stdin or ended, or when another reader writes it.
    func write(_ bytes: [UInt8], reader: UInt64) async throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            try Task.checkCancellation()
            let (writer, stdin) = state.withLock { ($0.writer, $0.pipes.stdin) }
            guard writer == reader, let stdin else {
                throw EngineError(.conflict, "the command's stdin is closed, or another client's")
            }
            let count = try Pipe.write(stdin, rest)
            rest = rest.dropFirst(count)
            if count == 0 { await poller.wait([(stdin, .writable)]) }
        }
    }

    func closeStdin(reader: UInt64) {
        state.withLock { state in
            guard state.writer == reader else { return }
            if state.pipes.isTerminal, let master = state.pipes.stdin {
                // A terminal whose input is full has something to read before its end.
                _ = try? Pipe.write(master, [Self.endOfInput])
            } else {
                state.pipes.stdin = nil
            }
        }
    }

    /// Nothing happens without a terminal.
    func resize(_ size: TerminalSize) throws {
        let master = state.withLock { $0.pipes.isTerminal ? $0.pipes.stdin : nil }
        if let master { try Pipe.resize(master, rows: size.rows, columns: size.columns) }
    }

    // MARK: The pump

    private func startPump() {
        let starts = state.withLock { state in
            defer { state.isPumping = true }
            return !state.isPumping
        }
        if starts { Task { await pump() } }
    }

    private func wakePump() {
        state.withLock { state in
            state.isChanged = true
            defer { state.pump = nil }
            return state.pump
        }?.resume()
    }

    private func pump() async {
        // What lies in a pipe when the command ends was written before; what its children write later does not count.
        var left = [Pipe.largestCapacity, Pipe.largestCapacity]
        var sizes = [Self.smallRead, Self.smallRead]
        var pace = OutputPace()
        while true {
            let (pipes, isFull) = state.withLock { state in
                state.isChanged = false
                return ([state.pipes.stdout, state.pipes.stderr], state.isFull)
            }
            if isFull {
                await change(of: [])
                continue
            }
            let result = ending.result
            var moved = 0
            for (index, pipe) in pipes.enumerated() {
                guard let pipe, left[index] > 0 else { continue }
                do throws(KernelError) {
                    switch try Pipe.read(pipe, capacity: sizes[index]) {
                    case .bytes(let bytes):
                        moved += bytes.count
                        if result != nil { left[index] -= bytes.count }
                        if bytes.count == sizes[index], sizes[index] < Self.largeRead {
                            sizes[index] = Self.largeRead
                            Pipe.enlarge(pipe)
                        }
                        deliver(bytes, isError: index == 1)
                    case .end: close(index)
                    case .wouldBlock: break
                    }
                } catch {
                    return fail(error)
                }
            }
            if moved > 0 {
                if let pause = pace.pause(after: moved, at: Clock.monotonic()) {
                    for pipe in pipes { pipe.map(Pipe.enlarge) }
                    try? await Task.sleep(for: pause)
                }
                continue
            }
            if let result { return end(result) }
            await change(of: state.withLock { [$0.pipes.stdout, $0.pipes.stderr].compactMap { $0 } })
        }
    }

    /// Returns when one of the descriptors can be read, or somebody has called `wakePump`.
    private func change(of descriptors: [SharedDescriptor]) async {
        var registered: UInt64?
        await withCheckedContinuation { continuation in
            let isChanged = state.withLock { state in
                if !state.isChanged { state.pump = continuation }
                return state.isChanged
            }
            if isChanged { return continuation.resume() }
            if !descriptors.isEmpty {
                registered = poller.notify(descriptors.map { ($0, .readable) }) { [weak self] in self?.wakePump() }
            }
        }
        if let registered { poller.cancel(registered) }
    }

    private func deliver(_ bytes: [UInt8], isError: Bool) {
        log?.append(bytes, isError: isError)
        hand(isError ? .stderr(bytes) : .stdout(bytes), count: bytes.count)
    }

    private func hand(_ chunk: CommandStreams.Chunk, count: Int) {
        let waiting = state.withLock { state in
            if case .exit = chunk {
                state.pipes = Pipes(isTerminal: state.pipes.isTerminal)
                state.isOver = true
            }
            return state.readers.keys.compactMap { number in
                state.readers[number]?.queue.append(chunk)
                state.readers[number]?.bytes += count
                return state.readers[number]?.takeWaiting()
            }
        }
        for continuation in waiting { continuation.resume() }
    }

    private func close(_ index: Int) {
        state.withLock { state in
            if index == 0 { state.pipes.stdout = nil } else { state.pipes.stderr = nil }
        }
    }

    private func end(_ result: CommandResult) {
        hand(.exit(result), count: 0)
        log?.finish()
        let onOver = state.withLock { state in
            defer { state.onOver = nil }
            return state.onOver
        }
        onOver?()
    }

    private func fail(_ error: KernelError) {
        let waiting = state.withLock { state in
            state.failure = error
            return state.readers.keys.compactMap { state.readers[$0]?.takeWaiting() }
        }
        for continuation in waiting { continuation.resume() }
        log?.finish()
    }
}

extension CommandSession.Reader {
    fileprivate mutating func take() -> CommandStreams.Chunk? {
        guard !queue.isEmpty else { return nil }
        let chunk = queue.removeFirst()
        switch chunk {
        case .stdout(let chunkBytes), .stderr(let chunkBytes): bytes -= chunkBytes.count
        case .exit: break
        }
        return chunk
    }

    fileprivate mutating func takeWaiting() -> CheckedContinuation<Void, Never>? {
        defer { waiting = nil }
        return waiting
    }
}

/// The output for one reader of a session.
struct CommandOutput: AsyncSequence, Sendable {
    typealias Element = CommandStreams.Chunk
    typealias Failure = any Error

    let session: CommandSession
    let reader: UInt64

    struct Iterator: AsyncIteratorProtocol {
        let session: CommandSession
        let reader: UInt64
        var isOver = false

        mutating func next() async throws -> CommandStreams.Chunk? {
            if isOver { return nil }
            let chunk = try await session.next(reader)
            if case .exit? = chunk { isOver = true }
            return chunk
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(session: session, reader: reader) }
}
