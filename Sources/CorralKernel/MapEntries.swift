internal import CLinux
internal import CorralPolicy
internal import Glibc

/// Entries of the instance's maps, as bpf/abi/corral_abi.h lays them out.
extension SandboxHooks {
    func put(_ map: String, _ key: [UInt8], _ value: [UInt8], subject: String? = nil) throws(KernelError) {
        let descriptor = try programs.map(map)
        let result = key.withUnsafeBytes { key in
            value.withUnsafeBytes { bpf_map_update_elem(descriptor, key.baseAddress, $0.baseAddress, 0) }
        }
        guard result == 0 else {
            throw KernelError(call: "bpf_map_update_elem", subject: subject ?? map, errno: errno)
        }
    }

    func remove(_ map: String, _ key: [UInt8]) {
        guard let descriptor = try? programs.map(map) else { return }
        _ = key.withUnsafeBytes { bpf_map_delete_elem(descriptor, $0.baseAddress) }
    }
}

extension SandboxIdentity {
    /// struct corral_flow_key
    func flowKey(_ proto: IPProtocol, remote: IPAddress, localPort: UInt16, remotePort: UInt16) -> [UInt8] {
        var key = keyPrefix
        key.append(contentsOf: remote.networkBytes)
        for number in [localPort, remotePort] { withUnsafeBytes(of: number) { key.append(contentsOf: $0) } }
        key += [proto.rawValue, 0, 0, 0]
        return key
    }

    /// How keys of maps begin that hold entries of many sandboxes: slot, and the low half of the epoch.
    var keyPrefix: [UInt8] {
        var key: [UInt8] = []
        key.appendWord(slot)
        key.appendWord(UInt32(truncatingIfNeeded: epoch))
        return key
    }
}
