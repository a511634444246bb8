internal import CorralPolicy
internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// Accepts TCP connections on the host and joins each to one of its own into a sandbox.
///
/// The sandbox sees the host as its peer. A side that does not read stops the other: nothing is buffered beyond one read.
final class ConnectionForwarder: PortForwarder {
    let hostPort: UInt16
    private let listener: any Channel

    /// Binds `address`, or every address of the host when nil; port 0 takes a free one.
    static func start(
        address: IPAddress?, hostPort: UInt16, to sandbox: IPAddress, port: UInt16
    ) async throws -> ConnectionForwarder {
        let group = MultiThreadedEventLoopGroup.singleton
        let target = try SocketAddress(ipAddress: sandbox.description, port: Int(port))
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .serverChannelOption(.backlog, value: 256)
            .childChannelOption(.autoRead, value: false)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelInitializer { inbound in join(inbound, to: target) }
        let listener: any Channel
        if let address {
            listener = try await bootstrap.bind(host: address.description, port: Int(hostPort)).get()
        } else {
            do {
                listener = try await bootstrap.bind(host: "::", port: Int(hostPort)).get()
            } catch let error as IOError where error.errnoCode != EADDRINUSE {
                // A host without IPv6.
                listener = try await bootstrap.bind(host: "0.0.0.0", port: Int(hostPort)).get()
            }
        }
        return ConnectionForwarder(listener: listener)
    }

    private init(listener: any Channel) {
        self.listener = listener
        hostPort = UInt16(listener.localAddress?.port ?? 0)
    }

    /// Connections that are open stay open; they end with the sandbox.
    func stop() async {
        try? await listener.close()
    }

    private static func join(_ inbound: any Channel, to target: SocketAddress) -> EventLoopFuture<Void> {
        let (near, far) = Junction.pair()
        return inbound.eventLoop.makeCompletedFuture { try inbound.pipeline.syncOperations.addHandler(near) }.flatMap {
            ClientBootstrap(group: inbound.eventLoop)
                .connectTimeout(.seconds(10))
                .channelOption(.autoRead, value: false)
                .channelOption(.allowRemoteHalfClosure, value: true)
                .channelInitializer { channel in
                    channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(far) }
                }
                .connect(to: target)
                .map { _ in }
        }.flatMapError { error in
            // The sandbox listens on no such port, or is gone.
            inbound.close().flatMapThrowing { throw error }
        }
    }
}

/// One end of two joined channels on one event loop: what it reads the other writes, and it reads on when the other has
/// written.
///
/// Safety: both ends live on one event loop, the only thread that touches them.
private final class Junction: ChannelInboundHandler, @unchecked Sendable {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private var context: ChannelHandlerContext?
    private var other: Junction?

    static func pair() -> (Junction, Junction) {
        let (a, b) = (Junction(), Junction())
        a.other = b
        b.other = a
        return (a, b)
    }

    func handlerAdded(context: ChannelHandlerContext) {
        self.context = context
    }

    func handlerRemoved(context: ChannelHandlerContext) {
        self.context = nil
        other = nil
    }

    func channelActive(context: ChannelHandlerContext) {
        // The first read waits until both ends stand.
        if let peer = other?.context, peer.channel.isActive {
            context.read()
            peer.read()
        }
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        guard let peer = other?.context else { return context.close(promise: nil) }
        let promise = peer.eventLoop.makePromise(of: Void.self)
        promise.futureResult.assumeIsolated().whenComplete { result in
            switch result {
            case .success: self.context?.read()
            case .failure: self.context?.close(promise: nil)
            }
        }
        peer.writeAndFlush(wrapOutboundOut(unwrapInboundIn(data)), promise: promise)
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case ChannelEvent.inputClosed = event { other?.context?.close(mode: .output, promise: nil) }
        context.fireUserInboundEventTriggered(event)
    }

    func channelInactive(context: ChannelHandlerContext) {
        other?.context?.close(promise: nil)
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
