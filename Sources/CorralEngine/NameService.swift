internal import CorralKernel
internal import CorralPolicy
internal import NIOCore
internal import NIOPosix

/// The resolver of an instance: its sockets, and the way by which the queries of sandboxes reach them, whatever server a
/// program has asked.
final class NameService: Sendable {
    let resolver: Resolver
    private let server: ResolverServer
    private let hooks: SandboxHooks
    private let mark: UInt32

    /// Ready; `serve` leads queries to it.
    static func start(
        _ configuration: NameConfiguration, instance: String, names: SandboxNames, hooks: SandboxHooks
    ) async throws -> NameService {
        let group = MultiThreadedEventLoopGroup.singleton
        let servers =
            configuration.servers.isEmpty
            ? UpstreamServers() : UpstreamServers(configuration.servers.compactMap { DNSEndpoint($0) })
        var settings = ResolverConfiguration()
        settings.ttlFloor = configuration.ttlFloor
        settings.ttlCeiling = configuration.ttlCeiling
        settings.grace = configuration.grace
        let resolver = Resolver(
            configuration: settings, authority: names, upstream: Upstream(servers: servers, group: group))
        let replies = try DatagramReply()
        let server = try await ResolverServer.start(
            on: [
                DNSEndpoint(IPAddress(ipv4: 0x7f00_0001), port: 0), DNSEndpoint(IPAddress(high: 0, low: 1), port: 0),
            ],
            resolver: resolver, group: group,
            inTheNameOf: { payload, source, destination in
                try replies.send(
                    payload, from: (source.address, source.port), to: (destination.address, destination.port))
            }
        )
        return NameService(
            resolver: resolver, server: server, hooks: hooks, mark: ResolverRoute.mark(of: instance))
    }

    func serve() async throws {
        do {
            try ResolverRoute.install(mark: mark)
            let (ipv4, ipv6) = (server.endpoints[0].port, server.endpoints[1].port)
            try hooks.serveNames(at: ResolverPorts(udp4: ipv4, udp6: ipv6, tcp4: ipv4, tcp6: ipv6), mark: mark)
        } catch {
            await server.stop()
            throw error
        }
    }

    private init(resolver: Resolver, server: ResolverServer, hooks: SandboxHooks, mark: UInt32) {
        self.resolver = resolver
        self.server = server
        self.hooks = hooks
        self.mark = mark
    }

    func stop() async throws {
        try hooks.serveNames(at: ResolverPorts(udp4: 0, udp6: 0, tcp4: 0, tcp6: 0), mark: 0)
        await server.stop()
        try ResolverRoute.remove(mark: mark)
    }
}
