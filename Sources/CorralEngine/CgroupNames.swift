internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import NIOPosix

/// The resolver's sockets for one enforced cgroup: on the loopback addresses of each network namespace that its processes are
/// in. The hooks lead what the cgroup asks of port 53 there.
actor CgroupNames {
    private struct Place {
        let server: ResolverServer
        let ports: ResolverPorts
        let cookie: UInt64
    }

    private let identity: SandboxIdentity
    private let hooks: SandboxHooks
    private let resolver: Resolver
    /// By inode number of the namespace; nil: it could not be served, which has been said.
    private var places: [UInt64: Place?] = [:]
    private var isUpdating = false
    private var isStopped = false

    init(identity: SandboxIdentity, hooks: SandboxHooks, resolver: Resolver) {
        self.identity = identity
        self.hooks = hooks
        self.resolver = resolver
    }

    /// Serves the namespace of this process and those of `processes`, and leaves those where none is any more. Returns what
    /// kept it from one, once for each; names are refused there.
    func update(_ processes: [Int32]) async -> [String] {
        guard !isUpdating, !isStopped else { return [] }
        isUpdating = true
        defer { isUpdating = false }
        var problems: [String] = []
        var present: Set<UInt64> = []
        for pid in [nil] + processes.map(Optional.some) {
            // Gone meanwhile.
            guard let namespace = try? NetworkNamespace(pid: pid) else { continue }
            let inode = namespace.inode
            guard present.insert(inode).inserted, places[inode] == nil else { continue }
            do {
                let place = try await serve(namespace)
                guard !isStopped else {
                    await leave(place)
                    return problems
                }
                places[inode] = place
            } catch {
                places[inode] = .some(nil)
                problems.append(
                    "no names in the network namespace of \(pid.map { "pid \($0)" } ?? "corrald"): \(error)")
            }
        }
        for (inode, place) in places where !present.contains(inode) {
            places[inode] = nil
            if let place { await leave(place) }
        }
        return problems
    }

    func stop() async {
        isStopped = true
        let left = places.values.compactMap { $0 }
        places = [:]
        for place in left { await leave(place) }
    }

    private func serve(_ namespace: consuming NetworkNamespace) async throws -> Place {
        let ipv4 = try NameSockets(isIPv4: true, in: namespace.descriptor)
        // A namespace may be without IPv6: then what is asked of an IPv6 server is refused.
        let ipv6 = Self.ipv6Sockets(in: namespace)
        let (port4, port6, cookie) = (ipv4.port, ipv6.port, ipv4.netnsCookie)
        let sockets = [ipv4.release()] + (ipv6.sockets.map { [$0] } ?? [])
        let (identity, hooks) = (identity, hooks)
        let server = try await ResolverServer.start(
            on: sockets, resolver: resolver, group: MultiThreadedEventLoopGroup.singleton,
            identifying: { source in
                // Others may send there too.
                let isIPv4 = source.address.ipv4 != nil
                let isOurs = hooks.isAsking(
                    identity, source.transport == .udp ? .udp : .tcp, from: source.port, to: isIPv4 ? port4 : port6,
                    isIPv4: isIPv4)
                return isOurs ? ResolverClient(identity) : nil
            }
        )
        let ports = ResolverPorts(udp4: port4, udp6: port6, tcp4: port4, tcp6: port6)
        do {
            try hooks.serveNames(at: ports, of: identity, netnsCookie: cookie)
        } catch {
            await server.close()
            throw error
        }
        return Place(server: server, ports: ports, cookie: cookie)
    }

    private static nonisolated func ipv6Sockets(
        in namespace: borrowing NetworkNamespace
    ) -> (port: UInt16, sockets: (udp: Int32, tcp: Int32)?) {
        do {
            let sockets = try NameSockets(isIPv4: false, in: namespace.descriptor)
            let port = sockets.port
            return (port, sockets.release())
        } catch {
            return (0, nil)
        }
    }

    private func leave(_ place: Place) async {
        hooks.withholdNames(at: place.ports, of: identity, netnsCookie: place.cookie)
        await place.server.close()
    }
}
