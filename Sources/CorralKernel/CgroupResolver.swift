internal import CLinux
internal import CorralABI
public import CorralPolicy
internal import Glibc

/// Sockets for a resolver on the loopback address of a network namespace: one for UDP, one that listens for TCP.
public struct NameSockets: ~Copyable, Sendable {
    private let udp: FileDescriptor
    private let tcp: FileDescriptor
    /// Of both.
    public let port: UInt16
    public let isIPv4: Bool
    /// What BPF knows the namespace by.
    public let netnsCookie: UInt64

    /// Throws EADDRNOTAVAIL when the namespace has no such loopback address, and EAFNOSUPPORT without IPv6.
    public init(isIPv4: Bool, in netns: borrowing FileDescriptor) throws(KernelError) {
        var sockets = corral_name_sockets(
            family: isIPv4 ? AF_INET : AF_INET6, udp: -1, tcp: -1, port: 0, cookie: 0)
        let raw = netns.raw
        _ = try systemCall("bind", on: isIPv4 ? "127.0.0.1" : "::1") { corral_name_sockets_in(raw, &sockets) }
        udp = FileDescriptor(owning: sockets.udp)
        tcp = FileDescriptor(owning: sockets.tcp)
        port = sockets.port
        self.isIPv4 = isIPv4
        netnsCookie = sockets.cookie
    }

    /// Gives up ownership; the caller closes both.
    package consuming func release() -> (udp: Int32, tcp: Int32) { (udp.release(), tcp.release()) }
}

/// A network namespace, kept in being.
public struct NetworkNamespace: ~Copyable, Sendable {
    /// By which namespaces are told apart while they exist.
    public let inode: UInt64
    public let descriptor: FileDescriptor

    /// `pid` as the host counts; nil: the calling thread's.
    public init(pid: Int32?) throws(KernelError) {
        let path = pid.map { "/proc/\($0)/ns/net" } ?? "/proc/thread-self/ns/net"
        let opened = try FileDescriptor.open(path, O_RDONLY)
        var status = stat()
        let raw = opened.raw
        _ = try systemCall("fstat", on: path) { fstat(raw, &status) }
        inode = UInt64(status.st_ino)
        descriptor = opened
    }
}

extension SandboxHooks {
    /// Leads what an enforced cgroup asks of port 53, in one network namespace, to these ports of its loopback addresses.
    public func serveNames(
        at ports: ResolverPorts, of identity: SandboxIdentity, netnsCookie: UInt64
    ) throws(KernelError) {
        for (port, proto) in Self.transports(of: ports) {
            try put("resolver_ports", Self.portKey(port, proto, identity), [1])
        }
        try put("cgroup_resolver", Self.resolverKey(identity, netnsCookie), ports.bytes(mark: 0))
    }

    /// From here on names are refused there.
    public func withholdNames(at ports: ResolverPorts, of identity: SandboxIdentity, netnsCookie: UInt64) {
        remove("cgroup_resolver", Self.resolverKey(identity, netnsCookie))
        for (port, proto) in Self.transports(of: ports) {
            remove("resolver_ports", Self.portKey(port, proto, identity))
        }
    }

    /// Whether a query that came from `source` to a resolver's port on the loopback address was sent by this cgroup.
    public func isAsking(
        _ identity: SandboxIdentity, _ proto: IPProtocol, from source: UInt16, to port: UInt16, isIPv4: Bool
    ) -> Bool {
        guard let map = try? programs.map("flows") else { return false }
        let loopback = isIPv4 ? IPAddress(ipv4: 0x7f00_0001) : IPAddress(high: 0, low: 1)
        let key = identity.flowKey(proto, remote: loopback, localPort: source, remotePort: port)
        var value = [UInt8](repeating: 0, count: MemoryLayout<corral_flow>.size)
        let isThere = key.withUnsafeBytes { key in
            value.withUnsafeMutableBytes { bpf_map_lookup_elem(map, key.baseAddress, $0.baseAddress) == 0 }
        }
        guard isThere else { return false }
        // An old flow's port may be another's by now. The programs stamp a flow at most once a second.
        let seen = value.withUnsafeBytes { $0.loadUnaligned(as: UInt64.self) }
        return corral_boottime_ns() &- seen < Self.freshness || seen > corral_boottime_ns()
    }

    /// Nanoseconds that a query may be on its way to a busy resolver.
    private static var freshness: UInt64 { 10_000_000_000 }

    private static func transports(of ports: ResolverPorts) -> [(UInt16, IPProtocol)] {
        [(ports.udp4, .udp), (ports.udp6, .udp), (ports.tcp4, .tcp), (ports.tcp6, .tcp)].filter { $0.0 != 0 }
    }

    private static func resolverKey(_ identity: SandboxIdentity, _ netnsCookie: UInt64) -> [UInt8] {
        var key = identity.keyPrefix
        key.appendLong(netnsCookie)
        return key
    }

    /// struct corral_port_key
    static func portKey(_ port: UInt16, _ proto: IPProtocol, _ identity: SandboxIdentity) -> [UInt8] {
        var key = identity.keyPrefix
        withUnsafeBytes(of: port) { key.append(contentsOf: $0) }
        key.append(proto.rawValue)
        key.append(0)
        return key
    }
}
