internal import Hummingbird
internal import Logging
internal import NIOCore

/// What a route knows beside its request.
struct APIContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel

    init(source: ApplicationRequestContextSource) {
        coreContext = CoreRequestContextStorage(source: source)
        channel = source.channel
    }

    /// Waits until the connection is closed by either side, or the task is cancelled.
    func disconnection() async {
        let (closed, continuation) = AsyncStream<Never>.makeStream()
        channel.closeFuture.whenComplete { _ in continuation.finish() }
        for await _ in closed {}
    }
}

/// A response writer that one child task uses while its owner waits for that task.
///
/// Safety: `ResponseBodyWriter` is not Sendable for the sake of writers that keep state; the parent task does not touch
/// the writer between handing it over and the end of the task group that holds the one user.
struct HandedOverWriter: @unchecked Sendable {
    private let writer: any ResponseBodyWriter

    init(_ writer: any ResponseBodyWriter) {
        self.writer = writer
    }

    func write(_ bytes: ByteBuffer) async throws {
        var writer = writer
        try await writer.write(bytes)
    }

    func finish() async throws {
        try await writer.finish(nil)
    }
}
