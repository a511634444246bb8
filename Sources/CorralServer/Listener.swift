internal import CorralAPI
internal import Glibc
internal import Hummingbird
internal import HummingbirdCore
internal import Logging
internal import NIOCore
internal import NIOSSL

/// One socket on which the API is served.
enum Listener: Sendable {
    /// Whoever may open the socket has this right.
    case unix(path: String, AccessRight)
    /// Callers need an API key.
    case tcp(ListenAddress, TLSIdentity?)

    var bindAddress: BindAddress {
        switch self {
        case .unix(let path, _): .unixDomainSocket(path: path)
        case .tcp(let address, _): .hostname(address.host, port: address.port)
        }
    }

    func builder(_ connections: Connections) -> HTTPServerBuilder {
        let limits = connections.limits
        var configuration = HTTP1Channel.Configuration(additionalChannelHandlers: [RequestProgress()])
        configuration.httpDecoder = .init(
            maxHeaderFieldSize: limits.headerSize, maxHeaderListSize: limits.headerSize, maxHeaderFieldCount: 100)
        return HTTPServerBuilder { [configuration] responder in
            GuardedChannel(
                base: HTTP1Channel(responder: responder, configuration: configuration), listener: self,
                connections: connections)
        }
    }
}

/// A connection of a listener: TLS where wanted, who it comes from, whether there is room, then HTTP.
struct GuardedChannel: ServerChildChannel {
    let base: HTTP1Channel
    let listener: Listener
    let connections: Connections

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<HTTP1Channel.Value> {
        switch listener {
        case .unix(_, let right):
            PeerCredentials.future(of: channel).flatMap { peer in
                guarded(channel, .local(peer, right), logger)
            }
        case .tcp(_, let identity):
            channel.eventLoop.makeCompletedFuture {
                try Self.keepAlive(channel)
                if let identity {
                    try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: identity.context()))
                }
            }.flatMap {
                guarded(channel, .remote(channel.remoteAddress?.ipAddress ?? "unknown"), logger)
            }
        }
    }

    /// A client that has vanished without a word is given up after two minutes.
    private static func keepAlive(_ channel: any Channel) throws {
        guard let options = channel.syncOptions else { return }
        try options.setOption(.socketOption(.so_keepalive), value: 1)
        for (name, value) in [(TCP_KEEPIDLE, 60), (TCP_KEEPINTVL, 15), (TCP_KEEPCNT, 4)] as [(CInt, Int)] {
            try options.setOption(
                ChannelOptions.Types.SocketOption(level: .tcp, name: NIOBSDSocket.Option(rawValue: name)), value: value)
        }
    }

    private func guarded(
        _ channel: any Channel, _ origin: Connections.Origin, _ logger: Logger
    ) -> EventLoopFuture<HTTP1Channel.Value> {
        let refusal: Failure? =
            switch connections.enter(channel, from: origin) {
            case .admitted: nil
            case .tooManyOfClient:
                Failure(
                    .tooManyRequests, "too_many_requests",
                    "this client has \(connections.limits.connectionsPerClient) connections, which is the most")
            case .tooMany:
                Failure(
                    .serviceUnavailable, "exhausted",
                    "there are \(connections.limits.connections) connections, which is the most")
            }
        return channel.eventLoop.makeCompletedFuture {
            var isRemote = false
            if case .remote = origin { isRemote = true }
            try channel.pipeline.syncOperations.addHandler(
                ConnectionGuard(connections.limits, isRemote: isRemote, refusal: refusal))
        }.flatMap { base.setup(channel: channel, logger: logger) }
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async {
        await base.handle(value: value, logger: logger)
    }
}
