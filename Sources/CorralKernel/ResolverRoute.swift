internal import CLinux
internal import CorralABI
internal import CorralPolicy
internal import Glibc

/// Where the resolver's sockets are, each on a loopback address of the host.
public struct ResolverPorts: Sendable, Equatable {
    public var udp4: UInt16
    public var udp6: UInt16
    public var tcp4: UInt16
    public var tcp6: UInt16

    public init(udp4: UInt16, udp6: UInt16, tcp4: UInt16, tcp6: UInt16) {
        self.udp4 = udp4
        self.udp6 = udp6
        self.tcp4 = tcp4
        self.tcp6 = tcp6
    }

    /// struct corral_resolver
    func bytes(mark: UInt32) -> [UInt8] {
        var bytes = IPAddress(ipv4: 0x7f00_0001).wireBytes + IPAddress(high: 0, low: 1).wireBytes
        for port in [udp4, udp6, tcp4, tcp6] { withUnsafeBytes(of: port) { bytes.append(contentsOf: $0) } }
        bytes.appendWord(mark)
        return bytes
    }
}

extension SandboxHooks {
    /// Sends what sandboxes ask of port 53, whatever the address, to these sockets on 127.0.0.1 and ::1.
    public func serveNames(at ports: ResolverPorts, mark: UInt32) throws(KernelError) {
        try update("resolver", 0, ports.bytes(mark: mark))
    }
}

/// The route by which marked packets reach the host's own sockets whatever their destination: one rule and one table a
/// family, in the network namespace of the calling thread.
public enum ResolverRoute {
    /// Of the rule: before the host's own tables, after `local`.
    private static let priority: UInt32 = 100

    /// The mark of an instance's packets, and the number of its table.
    public static func mark(of instance: String) -> UInt32 {
        0x0c0a_0000 | instance.utf8.reduce(2_166_136_261 as UInt32) { ($0 ^ UInt32($1)) &* 16_777_619 } & 0xffff
    }

    public static func install(mark: UInt32) throws(KernelError) {
        let socket = try NetlinkSocket(protocol: NETLINK_ROUTE)
        for family in [AF_INET, AF_INET6] {
            try socket.perform([
                route(family, mark, "RTM_NEWROUTE", RTM_NEWROUTE, NLM_F_CREATE | NLM_F_REPLACE),
                rule(family, mark, "RTM_NEWRULE", RTM_NEWRULE, NLM_F_CREATE | NLM_F_EXCL),
            ]) { $1 == EEXIST }
        }
    }

    /// What is not there is passed over.
    public static func remove(mark: UInt32) throws(KernelError) {
        let socket = try NetlinkSocket(protocol: NETLINK_ROUTE)
        for family in [AF_INET, AF_INET6] {
            try socket.perform([
                rule(family, mark, "RTM_DELRULE", RTM_DELRULE, 0), route(family, mark, "RTM_DELROUTE", RTM_DELROUTE, 0),
            ]) { $1 == ENOENT || $1 == ESRCH }
        }
    }

    private static func rule(_ family: Int32, _ mark: UInt32, _ name: StaticString, _ type: Int, _ flags: Int32)
        -> NetlinkMessage
    {
        NetlinkMessage(name, type: type, flags: flags, subject: "mark \(mark)") { message in
            // struct fib_rule_hdr
            message.append([UInt8(family), 0, 0, 0, UInt8(RT_TABLE_UNSPEC.rawValue), 0, 0, UInt8(FR_ACT_TO_TBL)])
            message.append(0 as UInt32)
            message.attribute(FRA_PRIORITY, number: priority)
            message.attribute(FRA_FWMARK, number: mark)
            message.attribute(FRA_FWMASK, number: UInt32.max)
            message.attribute(FRA_TABLE, number: mark)
        }
    }

    private static func route(_ family: Int32, _ mark: UInt32, _ name: StaticString, _ type: Int, _ flags: Int32)
        -> NetlinkMessage
    {
        NetlinkMessage(name, type: type, flags: flags, subject: "table \(mark)") { message in
            // struct rtmsg
            message.append([UInt8(family), 0, 0, 0])
            message.append([
                UInt8(RT_TABLE_UNSPEC.rawValue), UInt8(RTPROT_STATIC), UInt8(RT_SCOPE_HOST.rawValue), UInt8(RTN_LOCAL),
            ])
            message.append(0 as UInt32)
            message.attribute(RTA_TABLE.rawValue, number: mark)
            // The loopback interface of any namespace.
            message.attribute(RTA_OIF.rawValue, number: 1 as UInt32)
        }
    }
}
