internal import CorralEvents
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import ServiceLifecycle

/// Frames to one reader, each as it comes. What waits, waits in the engine's queue.
struct FrameStream: Sendable {
    typealias Write = @Sendable (ByteBuffer) async throws -> Void

    /// `produce` writes until there is no more, or until writing fails.
    static func response(
        to routed: RoutedRequest, _ produce: @escaping @Sendable (Write) async throws -> Void
    ) -> Response {
        let context = routed.context
        return Response(
            status: .ok, headers: [.contentType: EventFrame.contentType, .cacheControl: "no-store"],
            body: ResponseBody { writer in
                let out = StreamWriter(writer, channel: context.channel)
                let isThere = await StreamWork.run(
                    { try await produce { try await out.write($0) } },
                    disconnection: { await context.disconnection() }, interruption: { try? await gracefulShutdown() })
                guard isThere else { throw ClientGone() }
                try await APIResponder.finish(out)
            }
        )
    }
}
