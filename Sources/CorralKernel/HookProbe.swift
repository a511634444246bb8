internal import CLinux
internal import CorralControl
internal import CorralPolicy
internal import Glibc

/// What it takes to see that a new sandbox's hooks refuse.
public struct ProbeMeans: Sendable {
    /// A UDP socket of the sandbox's network namespace, but not of its cgroup, whose packets no router passes on.
    let datagram: SharedDescriptor
    /// The calls that the sandbox's first process made and that failed with EPERM, as bits of `corral_probe`. Each is refused
    /// by one cgroup hook under the deny-all policy; without the hook it would have succeeded or found no route.
    let refused: UInt32

    private static let all: [(hook: String, bit: corral_probe)] = [
        ("sock_create", CORRAL_PROBE_SOCK_CREATE), ("connect4", CORRAL_PROBE_CONNECT4),
        ("connect6", CORRAL_PROBE_CONNECT6), ("sendmsg4", CORRAL_PROBE_SENDMSG4), ("sendmsg6", CORRAL_PROBE_SENDMSG6),
    ]

    /// Hooks that refused nothing.
    var silentHooks: [String] { Self.all.filter { refused & $0.bit.rawValue == 0 }.map(\.hook) }
}

extension SandboxIdentity {
    /// As it is known until its hooks have shown that they refuse: under a number that no sandbox has, so that what they report
    /// meanwhile is nobody's.
    var probing: SandboxIdentity {
        var identity = self
        identity.epoch |= Self.unprovenBit
        return identity
    }

    /// In the epoch of a slot whose hooks have not shown yet that they refuse.
    public static let unprovenBit: UInt64 = 1 << 63

    /// A datagram from nowhere to the sandbox. Its checksum is wrong, so that the sandbox's own network would drop it.
    var unsolicitedFrame: [UInt8] {
        let addresses: [UInt8] = [192, 0, 2, 1] + ipv4.networkBytes.suffix(4)
        var header: [UInt8] = [0x45, 0, 0, 28, 0, 0, 0, 0, 1, 17, 0, 0] + addresses
        var sum: UInt32 = 0
        for index in stride(from: 0, to: header.count, by: 2) {
            sum += UInt32(header[index]) << 8 | UInt32(header[index + 1])
        }
        // What makes the one's complement sum (RFC 1071) come out right is the negative of this, and never this itself.
        let wrong = max(1, sum % 0xffff)
        header[10] = UInt8(truncatingIfNeeded: wrong >> 8)
        header[11] = UInt8(truncatingIfNeeded: wrong)
        let discard: [UInt8] = [0, 9, 0, 9, 0, 8, 0, 0]
        return mac + gatewayMAC + [0x08, 0x00] + header + discard
    }
}

extension SandboxHooks {
    /// Addresses of documentation: 192.0.2.1 (RFC 5737), 2001:db8::1 (RFC 3849).
    private static let nowhere = [
        IPAddress(ipv4: 0xc000_0201), IPAddress(high: 0x2001_0db8 << 32, low: 1),
    ]
    private static let discardPort: UInt16 = 9
    /// The kernel deals with a frame before the call that sends it returns, but need not.
    private static let patience: UInt64 = 1_000_000_000

    /// Has each hook of a sandbox refuse something, and sees that it did; throws when one did not. The sandbox must be parked
    /// and its network active under the deny-all policy. Only then are events charged to it, from number 1.
    ///
    /// The cgroup hooks have been asked by the sandbox's first process. For the veth hooks a packet of each family
    /// is sent inside, by a socket that no cgroup hook sees, and one to the sandbox. Were they to pass, they would still go
    /// nowhere: the hop limit ends with the host, and the checksum is wrong.
    public func probe(
        _ identity: SandboxIdentity, name: String, ifindex: UInt32, with means: ProbeMeans, network: HostNetwork
    ) throws(KernelError) {
        guard means.silentHooks.isEmpty else {
            throw KernelError(
                call: "hook probe", subject: name, errno: 0,
                detail: "\(means.silentHooks.joined(separator: ", ")) let a call pass under the deny-all policy")
        }
        let inside = means.datagram.raw
        for address in Self.nowhere {
            try expectDenial(of: "a packet to \(address)", by: "from_sandbox", identity, name) {
                () throws(KernelError) in
                let bytes = address.networkBytes
                try systemCall("sendto(AF_INET6)", on: "netns of \(name)") {
                    corral_datagram_send(inside, bytes, Self.discardPort)
                }
            }
        }
        try expectDenial(of: "an unsolicited packet", by: "to_sandbox", identity, name) { () throws(KernelError) in
            try network.send(frame: identity.unsolicitedFrame, to: ifindex)
        }
        counters.reset(identity.slot)
        try write(identity, ifindex: ifindex)
    }

    private func expectDenial(
        of what: String, by hook: String, _ identity: SandboxIdentity, _ name: String,
        _ send: () throws(KernelError) -> Void
    ) throws(KernelError) {
        let before = counters.read(identity.slot).denied
        try send()
        let deadline = corral_boottime_ns() &+ Self.patience
        while counters.read(identity.slot).denied == before {
            guard corral_boottime_ns() < deadline else {
                throw KernelError(
                    call: "hook probe", subject: name, errno: 0, detail: "\(hook) did not deny \(what)")
            }
            usleep(20)
        }
    }
}
