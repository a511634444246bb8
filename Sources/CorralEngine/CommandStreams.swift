/// The streams of one command. Bytes move only when the holder moves them: a holder that stops reading blocks the command.
public struct CommandStreams: Sendable {
    public enum Chunk: Sendable {
        case stdout([UInt8])
        case stderr([UInt8])
        /// Comes once, last, after both streams have ended.
        case exit(CommandResult)
    }

    /// Chunks of at most 256 KiB; ends after `.exit`. One consumer.
    public let output: any AsyncSequence<Chunk, any Error> & Sendable
    /// Returns when the bytes are in the pipe. Throws once the command has closed its stdin or ended.
    public let writeStdin: @Sendable ([UInt8]) async throws -> Void
    public let closeStdin: @Sendable () async -> Void
    /// To the command's process group.
    public let signal: @Sendable (Int32) async throws -> Void
    /// Gives the streams back; a later `attach` may take them. Idempotent.
    public let detach: @Sendable () async -> Void

    public init(
        output: any AsyncSequence<Chunk, any Error> & Sendable,
        writeStdin: @escaping @Sendable ([UInt8]) async throws -> Void,
        closeStdin: @escaping @Sendable () async -> Void,
        signal: @escaping @Sendable (Int32) async throws -> Void,
        detach: @escaping @Sendable () async -> Void
    ) {
        self.output = output
        self.writeStdin = writeStdin
        self.closeStdin = closeStdin
        self.signal = signal
        self.detach = detach
    }
}
