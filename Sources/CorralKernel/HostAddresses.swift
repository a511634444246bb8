internal import CLinux
internal import CorralPolicy
internal import Glibc

enum HostAddresses {
    /// Local addresses of both families in the socket's namespace, each once.
    static func list(_ socket: NetlinkSocket) throws(KernelError) -> [IPPrefix] {
        let request = NetlinkMessage("RTM_GETADDR", type: RTM_GETADDR, flags: NLM_F_DUMP, subject: "") { message in
            message.append([UInt8(AF_UNSPEC), 0, 0, 0])
            message.append(0 as UInt32)
        }
        var seen: Set<IPPrefix> = []
        var found: [IPPrefix] = []
        for reply in try socket.dump(request) where Int(reply.type) == Int(RTM_NEWADDR) {
            let attributes = reply.attributes(after: 8)
            // Of a point-to-point link IFA_ADDRESS is the other end's.
            guard let bytes = attributes[UInt16(IFA_LOCAL)] ?? attributes[UInt16(IFA_ADDRESS)],
                let address = IPAddress(networkBytes: bytes)
            else { continue }
            let prefix = IPPrefix(address, length: 128)
            if seen.insert(prefix).inserted { found.append(prefix) }
        }
        return found
    }
}

/// Tells that an address was added to or removed from the calling thread's network namespace.
public final class HostAddressChanges: Sendable {
    /// Readable when there are changes; for a poller.
    public let descriptor: SharedDescriptor

    public init() throws(KernelError) {
        let raw = try systemCall("socket(AF_NETLINK)") { corral_netlink_open(NETLINK_ROUTE) }
        descriptor = SharedDescriptor(FileDescriptor(owning: raw))
        for group in [RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR] {
            try systemCall("setsockopt(NETLINK_ADD_MEMBERSHIP)") { corral_netlink_join(raw, group.rawValue) }
        }
    }

    /// Takes all notices off the socket. True when there was one, or when some were lost.
    public func drain() -> Bool {
        var changed = false
        var byte: UInt8 = 0
        while true {
            if corral_netlink_receive(descriptor.raw, &byte, 1) >= 0 {
                changed = true
            } else if errno == ENOBUFS {
                changed = true
            } else if errno != EINTR {
                return changed
            }
        }
    }
}
