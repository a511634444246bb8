internal import CLinux
public import CorralPolicy
internal import Glibc

extension SandboxHooks {
    /// Lets connections to one port of a sandbox in, whoever opens them. Only tcp and udp have ports.
    public func publish(_ port: UInt16, _ proto: IPProtocol, of identity: SandboxIdentity) throws(KernelError) {
        let map = try programs.map("published")
        var value: UInt8 = 1
        let result = Self.publishedKey(port, proto, identity).withUnsafeBytes {
            bpf_map_update_elem(map, $0.baseAddress, &value, 0)
        }
        guard result == 0 else {
            throw KernelError(call: "bpf_map_update_elem", subject: "published[\(port)]", errno: errno)
        }
    }

    /// Flows that came in by it end as well.
    public func unpublish(_ port: UInt16, _ proto: IPProtocol, of identity: SandboxIdentity) {
        guard let map = try? programs.map("published") else { return }
        _ = Self.publishedKey(port, proto, identity).withUnsafeBytes { bpf_map_delete_elem(map, $0.baseAddress) }
    }

    private static func publishedKey(_ port: UInt16, _ proto: IPProtocol, _ identity: SandboxIdentity) -> [UInt8] {
        var key: [UInt8] = []
        key.appendWord(identity.slot)
        key.appendWord(UInt32(truncatingIfNeeded: identity.epoch))
        withUnsafeBytes(of: port) { key.append(contentsOf: $0) }
        key.append(proto.rawValue)
        key.append(0)
        return key
    }
}
