/// The streams of one command, for one reader. The command writes no further than its slowest reader reads.
public struct CommandStreams: Sendable {
    public enum Chunk: Sendable {
        case stdout([UInt8])
        case stderr([UInt8])
        /// Comes once, last, after both streams have ended.
        case exit(CommandResult)
    }

    /// Whether a reader wants to write stdin, which one at a time may.
    public enum Input: Sendable, Equatable {
        /// `conflict` when somebody else does.
        case claimed
        case ifFree
        case none
    }

    /// Chunks of at most 256 KiB; ends after `.exit`. One consumer.
    public let output: any AsyncSequence<Chunk, any Error> & Sendable
    /// Returns when the bytes are in the pipe. Throws once the command has closed its stdin or ended, and when this reader
    /// does not have it.
    public let writeStdin: @Sendable ([UInt8]) async throws -> Void
    public let closeStdin: @Sendable () async -> Void
    /// Nothing happens to a command without a terminal.
    public let resize: @Sendable (TerminalSize) async -> Void
    /// To the command's process group.
    public let signal: @Sendable (Int32) async throws -> Void
    /// Gives the streams back. Idempotent.
    public let detach: @Sendable () async -> Void
    /// Nobody else waits for the command: a sandbox that is removed after it is removed when this reader is lost.
    public let ownsSandbox: Bool

    public init(
        output: any AsyncSequence<Chunk, any Error> & Sendable,
        writeStdin: @escaping @Sendable ([UInt8]) async throws -> Void,
        closeStdin: @escaping @Sendable () async -> Void,
        resize: @escaping @Sendable (TerminalSize) async -> Void = { _ in },
        signal: @escaping @Sendable (Int32) async throws -> Void,
        detach: @escaping @Sendable () async -> Void, ownsSandbox: Bool = true
    ) {
        self.output = output
        self.writeStdin = writeStdin
        self.closeStdin = closeStdin
        self.resize = resize
        self.signal = signal
        self.detach = detach
        self.ownsSandbox = ownsSandbox
    }
}

/// Which part of a sandbox's output a caller wants.
public struct LogRequest: Sendable, Equatable {
    /// Nanoseconds since 1970, UTC.
    public var since: Int64?
    /// No more than this number of lines, the last ones.
    public var lines: Int?
    /// Go on with what is written from now on, until the command ends.
    public var follows: Bool

    public init(since: Int64? = nil, lines: Int? = nil, follows: Bool = false) {
        self.since = since
        self.lines = lines
        self.follows = follows
    }
}

public enum LogChunk: Sendable, Equatable {
    case stdout([UInt8])
    case stderr([UInt8])
    /// Bytes that were written here and are held no more.
    case skipped(UInt64)
}
