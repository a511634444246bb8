internal import CLinux
public import CorralPolicy
internal import Glibc

/// The two ends of one sandbox's link.
public struct NetworkPlan: Sendable {
    /// Of the host's end: 1 to 15 bytes. The sandbox's end is `eth0`.
    public var interfaceName: String
    /// Tells whose the interface is: `corral:<instance>:<sandbox>`.
    public var alias: String
    public var ipv4: IPAddress
    public var ipv6: IPAddress
    /// Of the sandbox's end, 6 bytes.
    public var mac: [UInt8]
    /// Of the host's end, 6 bytes.
    public var gatewayMAC: [UInt8]

    public init(
        interfaceName: String, alias: String, ipv4: IPAddress, ipv6: IPAddress, mac: [UInt8], gatewayMAC: [UInt8]
    ) {
        self.interfaceName = interfaceName
        self.alias = alias
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.mac = mac
        self.gatewayMAC = gatewayMAC
    }

    fileprivate func validate() throws(KernelError) {
        guard (1...15).contains(interfaceName.utf8.count), mac.count == 6, gatewayMAC.count == 6,
            (1...255).contains(alias.utf8.count), ipv4.ipv4 != nil, ipv6.ipv4 == nil
        else { throw KernelError(call: "RTM_NEWLINK", subject: interfaceName, errno: EINVAL, detail: "malformed plan") }
    }
}

/// The host's side of every sandbox's network, in the network namespace of the thread that made this. Addresses,
/// neighbours and routes are all set by hand: neither end asks or announces anything. May be used from any thread.
public final class HostNetwork: Sendable {
    /// What the sandbox sends everything to; no interface has these addresses.
    public static let gateway4 = IPAddress(ipv4: 0xa9fe_0101)
    public static let gateway6 = IPAddress(high: 0xfe80 << 48, low: 1)
    /// The sandbox's end.
    public static let insideName = "eth0"

    private let socket: NetlinkSocket
    /// Sends frames out of the host's ends, past the host's own firewall.
    private let frames: FileDescriptor

    public init() throws(KernelError) {
        socket = try NetlinkSocket(protocol: NETLINK_ROUTE)
        frames = FileDescriptor(owning: try systemCall("socket(AF_PACKET)") { corral_frame_socket() })
    }

    /// Sends a whole frame towards a sandbox. That it was dropped on the way out is no error.
    func send(frame: [UInt8], to interface: UInt32) throws(KernelError) {
        let raw = frames.raw
        do throws(KernelError) {
            try systemCall("sendto(AF_PACKET)", on: "interface \(interface)") {
                corral_frame_send(raw, interface, frame, frame.count)
            }
        } catch {
            if error.errno != ENOBUFS { throw error }
        }
    }

    /// Makes the pair with its far end in `netns`. Both ends stay down, so that no frame passes until `activate`.
    /// Returns the index of the host's end.
    public func createLink(_ plan: NetworkPlan, netns: borrowing FileDescriptor) throws(KernelError) -> UInt32 {
        try plan.validate()
        let named = VethLink(index: 0, name: plan.interfaceName)
        let replies = try socket.perform([
            named.create(
                mac: plan.gatewayMAC, peer: Self.insideName, peerMAC: plan.mac, netns: netns.raw
            ),
            named.get(),
        ])
        let index = try Self.index(in: replies, of: plan.interfaceName)
        do throws(KernelError) {
            try socket.perform([VethLink(index: index, name: plan.interfaceName).describe(alias: plan.alias)])
        } catch {
            try? remove(interfaces: [index])
            throw error
        }
        return index
    }

    /// Sets both ends up with addresses, permanent neighbours and routes. `inside` is an rtnetlink socket that was opened
    /// in the sandbox's namespace. On failure the link is left for `remove`.
    public func activate(
        _ plan: NetworkPlan, index: UInt32, inside: borrowing FileDescriptor
    ) throws(KernelError) {
        try plan.validate()
        let far = try NetlinkSocket(adopting: inside.duplicate())
        let replies = try far.perform([VethLink(index: 0, name: Self.insideName).get()])
        let end = VethLink(index: try Self.index(in: replies, of: Self.insideName), name: Self.insideName)
        let host = VethLink(index: index, name: plan.interfaceName)
        try socket.perform([
            host.up(quiet: true),
            host.neighbour(plan.ipv4, mac: plan.mac),
            host.neighbour(plan.ipv6, mac: plan.mac),
            host.route(to: plan.ipv4),
            host.route(to: plan.ipv6),
        ])
        try far.perform([
            VethLink(index: 1, name: "lo").up(quiet: false),
            end.describe(alias: nil),
            end.up(quiet: true),
            end.address(plan.ipv4),
            end.address(plan.ipv6),
            end.neighbour(Self.gateway4, mac: plan.gatewayMAC),
            end.neighbour(Self.gateway6, mac: plan.gatewayMAC),
            end.defaultRoute(by: Self.gateway4),
            end.defaultRoute(by: Self.gateway6),
        ])
        try waitUntilRunning(host)
    }

    /// The host's end got its carrier when the other end came up, but drops what it is to send until the kernel's link
    /// watch has seen that: a sandbox that is quick would lose its first answer, and TCP a second over it. Since Linux 6.8
    /// asking is enough. IFF_RUNNING does not tell: before the link watch has run for the first time, the state is unknown,
    /// which counts as running.
    private func waitUntilRunning(_ link: VethLink) throws(KernelError) {
        for attempt in 0..<1500 {
            if attempt > 0 { usleep(2000) }
            let state = try socket.perform([link.get()]).first?.attributes(after: 16)[UInt16(IFLA_OPERSTATE)]?.first
            if state == Self.operational { return }
        }
        throw KernelError(call: "RTM_GETLINK", subject: link.name, errno: ETIMEDOUT, detail: "no carrier")
    }

    /// IF_OPER_UP of <linux/if.h>.
    private static let operational: UInt8 = 6

    /// Deletes these links; ones that are gone already are passed over. The kernel takes about 20 ms whether for one or
    /// for many, so removals are best collected.
    public func remove(interfaces: [UInt32]) throws(KernelError) {
        let links = interfaces.filter { $0 != 0 }.map { VethLink(index: $0, name: "interface \($0)") }
        guard links.count > 1 else {
            if let link = links.first { try socket.perform([link.delete()]) { $1 == ENODEV } }
            return
        }
        // A group that nothing else is in: administrators number theirs from 1.
        let group = UInt32.random(in: 0x4000_0000...0x7fff_ffff)
        try socket.perform(links.map { $0.assign(group: group) }) { $1 == ENODEV }
        try socket.perform([VethLink.delete(group: group)]) { $1 == ENODEV || $1 == ESRCH }
    }

    /// Interfaces whose alias begins with `aliasPrefix`, which must not be empty.
    public func interfaces(
        aliasPrefix: String
    ) throws(KernelError) -> [(index: UInt32, name: String, alias: String)] {
        guard !aliasPrefix.isEmpty else {
            throw KernelError(call: "RTM_GETLINK", errno: EINVAL, detail: "empty alias prefix")
        }
        var found: [(index: UInt32, name: String, alias: String)] = []
        for reply in try socket.dump(VethLink.list()) where Int(reply.type) == Int(RTM_NEWLINK) {
            let attributes = reply.attributes(after: 16)
            guard let index = reply.payload.number(at: 4, as: UInt32.self),
                let alias = attributes[UInt16(IFLA_IFALIAS)]?.terminatedText, alias.hasPrefix(aliasPrefix),
                let name = attributes[UInt16(IFLA_IFNAME)]?.terminatedText
            else { continue }
            found.append((index, name, alias))
        }
        return found
    }

    /// Every address of the host, each as a full-length prefix.
    public func addresses() throws(KernelError) -> [IPPrefix] {
        try HostAddresses.list(socket)
    }

    private static func index(in replies: [NetlinkReply], of name: String) throws(KernelError) -> UInt32 {
        for reply in replies where Int(reply.type) == Int(RTM_NEWLINK) {
            if reply.attributes(after: 16)[UInt16(IFLA_IFNAME)]?.terminatedText == name,
                let index = reply.payload.number(at: 4, as: UInt32.self), index != 0
            {
                return index
            }
        }
        throw KernelError(call: "RTM_GETLINK", subject: name, errno: EBADMSG)
    }
}
