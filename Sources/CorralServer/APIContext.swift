internal import Hummingbird
internal import Logging
internal import NIOCore

/// What a route knows beside its request.
struct APIContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    let channel: any Channel
    /// Who asks; set before any route sees the request.
    var caller = Caller.stranger(address: "")

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
