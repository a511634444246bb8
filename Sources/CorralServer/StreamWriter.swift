internal import Hummingbird
internal import NIOCore

/// Writes a response body from a child task, and holds its user back as soon as the client does not take more.
///
/// Safety: not Sendable by itself, since `ResponseBodyWriter` is not and the count is plain. Its owner makes it, hands it
/// to one child task, and uses it again only after the task group that holds that child has ended.
final class StreamWriter: @unchecked Sendable {
    /// Bytes that may be on their way to the event loop unseen; as many as a channel queues before it is not writable.
    private static let unseenLimit = 64 << 10

    private let writer: any ResponseBodyWriter
    private let eventLoop: any EventLoop
    private var unseen = 0

    init(_ writer: any ResponseBodyWriter, channel: any Channel) {
        self.writer = writer
        eventLoop = channel.eventLoop
    }

    /// Returns once the client may be sent more. Throws once it is gone.
    func write(_ bytes: ByteBuffer) async throws {
        var writer = writer
        try await writer.write(bytes)
        unseen += bytes.readableBytes
        if unseen >= Self.unseenLimit {
            // A write returns when the event loop has been told of it. A loop that is behind has not yet said that the
            // channel is full, and a fast command would pile up megabytes: wait until it has come this far.
            try await eventLoop.submit {}.get()
            unseen = 0
        }
    }

    func finish() async throws {
        try await writer.finish(nil)
    }
}
