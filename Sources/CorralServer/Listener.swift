internal import CorralAPI
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
                if let identity {
                    try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: identity.context()))
                }
            }.flatMap {
                guarded(channel, .remote(channel.remoteAddress?.ipAddress ?? "unknown"), logger)
            }
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
            try channel.pipeline.syncOperations.addHandler(ConnectionGuard(connections.limits, refusal: refusal))
        }.flatMap { base.setup(channel: channel, logger: logger) }
    }

    func handle(value: HTTP1Channel.Value, logger: Logger) async {
        await base.handle(value: value, logger: logger)
    }
}
