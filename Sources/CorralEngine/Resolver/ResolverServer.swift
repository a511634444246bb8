internal import CorralPolicy
internal import NIOCore
internal import NIOPosix
internal import Synchronization

/// Listens for sandboxes' queries over UDP and TCP and gives them to the resolver.
final class ResolverServer: Sendable {
    struct Limits: Sendable, Equatable {
        /// TCP connections of one address, and of all.
        var connections = 8
        var connectionsTotal = 1024
        /// Queries of one connection that wait for their answers; further ones are not read before.
        var pipelined = 16
        /// A connection on which no whole query comes and no answer goes for so long is closed.
        var idle: Duration = .seconds(10)
    }

    /// Sends one answer over UDP: payload, the address that was asked, and whom to send it to. Throws what cannot be sent.
    typealias DatagramSender =
        @Sendable (_ payload: [UInt8], _ source: DNSEndpoint, _ destination: DNSEndpoint) throws -> Void

    /// Whose query it is, where the address that it comes from does not tell; nil: nobody's, it is dropped.
    typealias Identification = @Sendable (_ source: ResolverPeer) -> ResolverClient?

    enum Failure: Error, Sendable, CustomStringConvertible {
        case endpoint(DNSEndpoint, String)

        var description: String {
            switch self {
            case .endpoint(let endpoint, let cause): "cannot listen on \(endpoint): \(cause)"
            }
        }
    }

    /// Where it listens, each over both transports. The port is the one that the kernel chose where 0 was asked for.
    let endpoints: [DNSEndpoint]
    private let channels: [any Channel]
    private let connections: ConnectionTable
    private let resolver: Resolver
    private let sweeping: Task<Void, Never>?

    /// Listens on all of `endpoints`, or throws and listens on none. A port of 0 stands for any. With a `sender` it takes
    /// queries to any address that the host's routes bring here, and answers in the name of the address that was asked.
    static func start(
        on endpoints: [DNSEndpoint], resolver: Resolver, group: any EventLoopGroup, limits: Limits = Limits(),
        inTheNameOf sender: DatagramSender? = nil
    ) async throws -> ResolverServer {
        let connections = ConnectionTable(limits: limits)
        var bound: [DNSEndpoint] = []
        var channels: [any Channel] = []
        do {
            for endpoint in endpoints {
                let (pair, port) = try await listen(on: endpoint, resolver, connections, group, limits, sender)
                channels += pair
                bound.append(DNSEndpoint(endpoint.address, port: port, zone: endpoint.zone))
            }
        } catch {
            for channel in channels { try? await channel.close() }
            throw error
        }
        let sweeping = Task {
            while !Task.isCancelled {
                try? await Task.sleep(for: resolver.configuration.budget.reportInterval)
                resolver.sweep()
            }
        }
        return ResolverServer(
            endpoints: bound, channels: channels, connections: connections, resolver: resolver, sweeping: sweeping)
    }

    private init(
        endpoints: [DNSEndpoint], channels: [any Channel], connections: ConnectionTable, resolver: Resolver,
        sweeping: Task<Void, Never>? = nil
    ) {
        self.endpoints = endpoints
        self.channels = channels
        self.connections = connections
        self.resolver = resolver
        self.sweeping = sweeping
    }

    /// IP_TRANSPARENT and IPV6_TRANSPARENT of <linux/in.h> and <linux/in6.h>.
    private static let transparentIPv4: Int32 = 19
    private static let transparentIPv6: Int32 = 75

    /// Stops listening, closes every connection and gives up queries under way; then the event loops may end.
    func stop() async {
        await close()
        await resolver.cancelAll()
    }

    /// Stops listening and closes every connection; the resolver goes on for others.
    func close() async {
        sweeping?.cancel()
        for channel in channels { try? await channel.close() }
        await connections.closeAll()
    }

    private static func listen(
        on endpoint: DNSEndpoint, _ resolver: Resolver, _ connections: ConnectionTable, _ group: any EventLoopGroup,
        _ limits: Limits, _ sender: DatagramSender?
    ) async throws -> (channels: [any Channel], port: UInt16) {
        guard let address = endpoint.socketAddress else {
            throw Failure.endpoint(endpoint, "no interface \(endpoint.zone ?? "")")
        }
        // Without it the kernel's address translation takes a socket away from packets that it was given for.
        let transparent = sender.map { _ in
            let isIPv4 = endpoint.address.ipv4 != nil
            return ChannelOptions.Types.SocketOption(
                level: isIPv4 ? .ip : .ipv6, name: .init(rawValue: isIPv4 ? transparentIPv4 : transparentIPv6))
        }
        // A port that is free for one transport may be taken for the other.
        var attempts = endpoint.port == 0 ? 10 : 1
        while true {
            attempts -= 1
            var datagrams: (any Channel)?
            do {
                var receiver = receiver(group) { ResolverDatagramHandler(resolver, sender: sender) }
                if let transparent { receiver = receiver.channelOption(transparent, value: 1) }
                let udp = try await receiver.channelOption(.receivePacketInfo, value: sender != nil)
                    .bind(to: address).get()
                datagrams = udp
                guard let port = udp.localAddress?.port.flatMap({ UInt16(exactly: $0) }),
                    let same = DNSEndpoint(endpoint.address, port: port, zone: endpoint.zone).socketAddress
                else { throw Failure.endpoint(endpoint, "no local address") }
                var listener = listener(group, connections) { ResolverStreamHandler(resolver, limits: limits) }
                if let transparent { listener = listener.serverChannelOption(transparent, value: 1) }
                let tcp = try await listener.serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
                    .serverChannelOption(.backlog, value: 64).bind(to: same).get()
                return ([udp, tcp], port)
            } catch {
                try? await datagrams?.close()
                guard attempts > 0 else {
                    throw error as? Failure ?? Failure.endpoint(endpoint, "\(error)")
                }
            }
        }
    }

    /// Serves on sockets that are bound, and listen, already. Whatever comes of it, they are closed with the server.
    static func start(
        on sockets: [(udp: Int32, tcp: Int32)], resolver: Resolver, group: any EventLoopGroup,
        limits: Limits = Limits(), identifying: @escaping Identification
    ) async throws -> ResolverServer {
        let connections = ConnectionTable(limits: limits)
        var channels: [any Channel] = []
        var failure: (any Error)?
        for (udp, tcp) in sockets {
            do {
                channels.append(
                    try await receiver(group) { ResolverDatagramHandler(resolver, identifying: identifying) }
                        .withBoundSocket(udp).get())
            } catch { failure = error }
            do {
                channels.append(
                    try await listener(group, connections) {
                        ResolverStreamHandler(resolver, limits: limits, identifying: identifying)
                    }.withBoundSocket(tcp).get())
            } catch { failure = error }
        }
        let server = ResolverServer(endpoints: [], channels: channels, connections: connections, resolver: resolver)
        if let failure {
            await server.close()
            throw failure
        }
        return server
    }

    private static func receiver(
        _ group: any EventLoopGroup, _ handler: @escaping @Sendable () -> ResolverDatagramHandler
    ) -> DatagramBootstrap {
        DatagramBootstrap(group: group)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 4096))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(handler()) }
            }
    }

    private static func listener(
        _ group: any EventLoopGroup, _ connections: ConnectionTable,
        _ handler: @escaping @Sendable () -> ResolverStreamHandler
    ) -> ServerBootstrap {
        ServerBootstrap(group: group)
            .childChannelOption(.allowRemoteHalfClosure, value: true)
            .childChannelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 2048))
            .childChannelInitializer { channel in
                guard let source = channel.remoteAddress?.ip, connections.admit(channel, from: source) else {
                    return channel.close()
                }
                return channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(handler())
                }
            }
    }
}

/// The TCP connections that are open.
final class ConnectionTable: Sendable {
    private struct State: Sendable {
        var channels: [ObjectIdentifier: any Channel] = [:]
        var bySource: [IPAddress: Int] = [:]
        var isClosed = false
    }

    private let limits: ResolverServer.Limits
    private let state = Mutex(State())

    init(limits: ResolverServer.Limits) {
        self.limits = limits
    }

    /// Counts a connection until it closes; false when it is one too many.
    func admit(_ channel: any Channel, from source: IPAddress) -> Bool {
        let isAdmitted = state.withLock { state in
            guard !state.isClosed, state.channels.count < limits.connectionsTotal,
                state.bySource[source, default: 0] < limits.connections
            else { return false }
            state.channels[ObjectIdentifier(channel)] = channel
            state.bySource[source, default: 0] += 1
            return true
        }
        guard isAdmitted else { return false }
        let key = ObjectIdentifier(channel)
        channel.closeFuture.whenComplete { [weak self] _ in
            self?.state.withLock { state in
                guard state.channels.removeValue(forKey: key) != nil else { return }
                let left = state.bySource[source, default: 1] - 1
                state.bySource[source] = left > 0 ? left : nil
            }
        }
        return true
    }

    func closeAll() async {
        let channels = state.withLock { state in
            state.isClosed = true
            return Array(state.channels.values)
        }
        for channel in channels { try? await channel.close() }
    }
}
