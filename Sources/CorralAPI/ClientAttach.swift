public import CorralEvents
internal import Glibc

/// The caller's ends of an attached command's streams: open descriptors, lent for the length of the call.
public struct AttachStreams: Sendable {
    /// Nil: nothing is sent, and the command's stdin stays as it is.
    public var stdin: Int32?
    public var stdout: Int32
    public var stderr: Int32
    /// Each byte that can be read here is the number of a signal to send to the command. Written by signal handlers.
    public var signals: Int32?
    /// The caller's terminal, in raw mode: SIGWINCH is not sent, but its size, and ^P ^Q in stdin leaves the command.
    public var terminal: Int32?

    public init(stdin: Int32?, stdout: Int32, stderr: Int32, signals: Int32? = nil, terminal: Int32? = nil) {
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        self.signals = signals
        self.terminal = terminal
    }

    /// Nil where `descriptor` is no terminal.
    public static func size(of descriptor: Int32) -> TerminalSize? {
        var size = winsize()
        guard ioctl(descriptor, UInt(TIOCGWINSZ), &size) == 0 else { return nil }
        return TerminalSize(rows: Int(size.ws_row), columns: Int(size.ws_col))
    }
}

/// When something of an attached command was first seen, CLOCK_MONOTONIC in nanoseconds.
public final class AttachProgress {
    public internal(set) var attachedAt: UInt64?
    public internal(set) var firstOutputAt: UInt64?
    public internal(set) var exitedAt: UInt64?

    public init() {}

    public static func now() -> UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(clamping: time.tv_sec) * 1_000_000_000 + UInt64(clamping: time.tv_nsec)
    }
}

/// How an attached command ended.
public struct CommandExit: Sendable, Equatable {
    public enum Cause: String, Sendable {
        case exited
        case signalled
        case timeout
        case removed
    }

    /// The exit code; 128 + signal when a signal ended it, 124 after a timeout, 137 when it was removed.
    public var code: Int32
    public var cause: Cause
    /// What the sandbox was refused, summed up.
    public var refusals: [RefusalSummary]

    public init(code: Int32, cause: Cause, refusals: [RefusalSummary] = []) {
        self.code = code
        self.cause = cause
        self.refusals = refusals
    }
}

extension Client {
    /// Moves bytes between the streams and a sandbox's command until the command has ended and all its output is written;
    /// nil when the caller left it by ^P ^Q.
    ///
    /// Throws `outputClosed` once nobody reads stdout or stderr; the connection is then given up, which ends a
    /// command that was started to be removed after it. Signals are forwarded even while nobody reads the output.
    /// SIGPIPE must be ignored.
    /// - Parameters:
    ///   - exec: another command than the main one.
    ///   - claimsStdin: true insists on writing the command's stdin, which one client at a time may; false leaves it to others.
    public func attach(
        _ reference: String, exec: String? = nil, claimsStdin: Bool? = nil, _ streams: AttachStreams,
        progress: AttachProgress? = nil
    ) throws(ClientError) -> CommandExit? {
        var query = exec.map { ["exec=" + Self.percentEncoded($0)] } ?? []
        if let claimsStdin { query.append("stdin=\(claimsStdin)") }
        let connection = try connection()
        try connection.send(
            "POST",
            Self.path(of: reference) + "/attach" + (query.isEmpty ? "" : "?" + query.joined(separator: "&")),
            body: .chunks(type: "application/vnd.corral.stream"))
        try Self.expectSuccess(connection)
        progress?.attachedAt = AttachProgress.now()
        var pump = AttachPump(connection: connection, streams: streams, progress: progress)
        return try pump.run()
    }
}

/// The loop of one attached client.
private struct AttachPump {
    /// Input that may wait for corrald before stdin is no longer read.
    private static let inputLimit = 256 << 10
    private static let readSize = 64 << 10

    private let connection: ClientConnection
    private let streams: AttachStreams
    private var frames = StreamFrameReader()
    /// Encoded frames on their way to corrald.
    private var input: [UInt8] = []
    private var inputSent = 0
    private var isStdinOpen: Bool
    private var isSignalsOpen: Bool
    /// Output on its way to the caller's stream.
    private var output: [UInt8] = []
    private var outputWritten = 0
    private var isErrorOutput = false
    private let stdout: AttachOutput
    private let stderr: AttachOutput
    private var detachKeys = DetachKeys()
    private let progress: AttachProgress?
    private var buffer = [UInt8](repeating: 0, count: readSize)

    init(connection: ClientConnection, streams: AttachStreams, progress: AttachProgress?) {
        self.connection = connection
        self.streams = streams
        self.progress = progress
        isStdinOpen = streams.stdin != nil
        isSignalsOpen = streams.signals != nil
        stdout = AttachOutput(streams.stdout)
        stderr = AttachOutput(streams.stderr)
        // It may have changed since the command was asked for.
        if streams.terminal != nil { enqueueSize() }
    }

    private var outputStream: AttachOutput { isErrorOutput ? stderr : stdout }

    mutating func run() throws(ClientError) -> CommandExit? {
        while true {
            // Nothing that has been read may wait for poll(2), which knows only of what has not.
            while output.isEmpty {
                if let element = try nextElement() {
                    switch element {
                    case .output(let isError, let bytes):
                        (output, outputWritten, isErrorOutput) = (bytes, 0, isError)
                        if progress?.firstOutputAt == nil { progress?.firstOutputAt = AttachProgress.now() }
                    case .exit(let exit):
                        progress?.exitedAt = AttachProgress.now()
                        return exit
                    case .skipped: throw .badResponse("in the command's output: a frame of a log")
                    }
                } else {
                    guard connection.holdsBytes, try receive() else { break }
                }
            }
            try step()
            // Told to corrald first.
            if detachKeys.isComplete, input.isEmpty { return nil }
        }
    }

    private mutating func nextElement() throws(ClientError) -> StreamFrameReader.Element? {
        do throws(StreamFrameError) {
            return try frames.next()
        } catch {
            throw .badResponse("in the command's output: \(error.what)")
        }
    }

    /// Waits until something can move and moves it.
    private mutating func step() throws(ClientError) {
        // A descriptor of -1 is passed over by poll(2), hang-ups included: nothing may wake us that we do not act on.
        let wantsInput = isStdinOpen && !detachKeys.isComplete && input.count - inputSent < Self.inputLimit
        let socketEvents = (output.isEmpty ? POLLIN : 0) | (input.isEmpty ? 0 : POLLOUT)
        var polled = [
            pollfd(fd: socketEvents == 0 ? -1 : connection.socket.descriptor, events: Int16(socketEvents), revents: 0),
            pollfd(fd: wantsInput ? streams.stdin ?? -1 : -1, events: Int16(POLLIN), revents: 0),
            pollfd(fd: isSignalsOpen ? streams.signals ?? -1 : -1, events: Int16(POLLIN), revents: 0),
            pollfd(fd: output.isEmpty ? -1 : outputStream.descriptor, events: Int16(POLLOUT), revents: 0),
        ]
        let result = ClientSocket.retrying { poll(&polled, nfds_t(polled.count), -1) }
        if case .failure(let number) = result {
            throw .system(call: "poll", subject: "the command's streams", errno: number)
        }

        if polled[2].revents != 0 { try readSignals() }
        if polled[1].revents != 0 { try readStdin() }
        if !input.isEmpty { try sendInput() }
        if polled[3].revents != 0 { try writeOutput() }
        if polled[0].revents != 0, output.isEmpty { _ = try receive() }
    }

    /// False when nothing has come.
    private mutating func receive() throws(ClientError) -> Bool {
        guard let piece = try connection.readPiece(waiting: false) else { throw .closed(during: "a command") }
        if !piece.isEmpty { frames.append(piece) }
        return !piece.isEmpty
    }

    // MARK: Towards the command

    private mutating func readSignals() throws(ClientError) {
        guard let signals = streams.signals else { return }
        let count = try read(signals, "signals")
        guard count > 0 else {
            isSignalsOpen = count != 0
            return
        }
        for number in buffer[..<count] {
            if streams.terminal != nil, Int32(number) == SIGWINCH { enqueueSize() } else { enqueue(.signal, [number]) }
        }
    }

    private mutating func enqueueSize() {
        guard let terminal = streams.terminal, let size = AttachStreams.size(of: terminal) else { return }
        let bytes = [size.rows >> 8, size.rows, size.columns >> 8, size.columns].map(UInt8.init(truncatingIfNeeded:))
        enqueue(.resize, bytes[...])
    }

    private mutating func readStdin() throws(ClientError) {
        guard let stdin = streams.stdin else { return }
        let count = try read(stdin, "stdin")
        if count > 0, streams.terminal != nil {
            let bytes = detachKeys.pass(buffer[..<count])
            if !bytes.isEmpty { enqueue(.stdin, bytes[...]) }
            if detachKeys.isComplete { enqueue(.detach, []) }
        } else if count > 0 {
            enqueue(.stdin, buffer[..<count])
        } else if count == 0 {
            isStdinOpen = false
            enqueue(.stdinEnd, [])
        }
    }

    /// Bytes read; 0 at the end, -1 when there are none now.
    private mutating func read(_ descriptor: Int32, _ what: String) throws(ClientError) -> Int {
        let result = ClientSocket.retrying {
            buffer.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
        }
        switch result {
        case .success(let count): return count
        case .failure(EAGAIN): return -1
        // Closed by our caller, or a terminal that is gone: the end, as cat(1) would see it.
        case .failure(EBADF), .failure(EIO): return 0
        case .failure(let number): throw .system(call: "read", subject: what, errno: number)
        }
    }

    /// One frame as one chunk of the request's body.
    private mutating func enqueue(_ kind: StreamFrameKind, _ payload: ArraySlice<UInt8>) {
        let header = StreamFrameHeader(kind: kind, length: payload.count)
        input += Array("\(String(StreamFrameHeader.size + payload.count, radix: 16))\r\n".utf8)
        input += header.bytes
        input += payload
        input += [13, 10]
    }

    private mutating func sendInput() throws(ClientError) {
        do throws(ClientError) {
            guard let count = try connection.socket.writeWithoutWaiting(input[inputSent...]) else { return }
            inputSent += count
        } catch {
            // The command may have ended and corrald have closed its side; what it said before that still counts.
            guard case .system(_, _, let number) = error, number == EPIPE || number == ECONNRESET else { throw error }
            inputSent = input.count
            isStdinOpen = false
            isSignalsOpen = false
        }
        if inputSent == input.count {
            input.removeAll(keepingCapacity: true)
            inputSent = 0
        }
    }

    // MARK: From the command

    private mutating func writeOutput() throws(ClientError) {
        // An interrupted write returns to the loop, which looks at the signals first.
        let result = outputStream.write(output[outputWritten...])
        if result >= 0 {
            outputWritten += result
        } else {
            switch errno {
            case EINTR, EAGAIN: return
            case EPIPE: throw .outputClosed
            case let number:
                throw .system(call: "write", subject: isErrorOutput ? "stderr" : "stdout", errno: number)
            }
        }
        if outputWritten == output.count { output = [] }
    }
}
