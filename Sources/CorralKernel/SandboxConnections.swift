internal import CLinux
public import CorralPolicy
internal import Glibc

/// The TCP sockets inside one sandbox.
public struct SandboxConnections: ~Copyable {
    private let socket: NetlinkSocket

    /// `pid`: any process of the sandbox, as the host counts.
    public init(pid: Int32) throws(KernelError) {
        let namespace = try FileDescriptor.open("/proc/\(pid)/ns/net", O_RDONLY)
        let raw = namespace.raw
        let netlink = try systemCall("socket(NETLINK_SOCK_DIAG)", on: "pid \(pid)") {
            corral_netlink_open_in(raw, NETLINK_SOCK_DIAG)
        }
        socket = try NetlinkSocket(adopting: FileDescriptor(owning: netlink))
    }

    /// Ends each connection to a remote of which `isRefused` says so: its owner reads ECONNRESET or ECONNABORTED. Returns
    /// how many. Needs CONFIG_INET_DIAG_DESTROY; throws EOPNOTSUPP without it.
    public func abort(where isRefused: (IPAddress, UInt16) throws(KernelError) -> Bool) throws(KernelError) -> Int {
        var count = 0
        for family in [AF_INET, AF_INET6] {
            let request = NetlinkMessage(
                "SOCK_DIAG_BY_FAMILY", type: SOCK_DIAG_BY_FAMILY, flags: NLM_F_DUMP, subject: "tcp"
            ) { message in
                // struct inet_diag_req_v2; states 1 to 11 but LISTEN (10).
                message.append([UInt8(family), UInt8(IPPROTO_TCP), 0, 0])
                message.append(0xffe & ~(1 << 10) as UInt32)
                message.append([UInt8](repeating: 0, count: 48))
            }
            for reply in try socket.dump(request) where Int(reply.type) == Int(SOCK_DIAG_BY_FAMILY) {
                // struct inet_diag_msg: family, state, timer, retransmissions; then struct inet_diag_sockid.
                let bytes = reply.payload
                guard bytes.count >= 52 else { continue }
                let identity = Array(bytes[bytes.startIndex + 4..<bytes.startIndex + 52])
                let port = UInt16(identity[2]) << 8 | UInt16(identity[3])
                let width = family == AF_INET ? 4 : 16
                guard let remote = IPAddress(networkBytes: Array(identity[20..<20 + width])),
                    try isRefused(remote, port)
                else { continue }
                let end = NetlinkMessage("SOCK_DESTROY", type: SOCK_DESTROY, flags: 0, subject: "\(remote):\(port)") {
                    $0.append([UInt8(family), UInt8(IPPROTO_TCP), 0, 0])
                    $0.append(UInt32.max)
                    $0.append(identity)
                }
                // Gone meanwhile, or in TIME_WAIT: there is nothing left to end.
                try socket.perform([end]) { $1 == ENOENT || $1 == EINVAL }
                count += 1
            }
        }
        return count
    }
}
