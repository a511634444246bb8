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
            throw KernelError.update(of: subject ?? map)
        }
    }

    func remove(_ map: String, _ key: [UInt8]) {
        guard let descriptor = try? programs.map(map) else { return }
        _ = key.withUnsafeBytes { bpf_map_delete_elem(descriptor, $0.baseAddress) }
    }
}

/// Goes through the keys of a hash map. What is added and removed meanwhile may come or not; a key that is gone by the time its
/// successor is asked for sends the walk back to the beginning, so that it is bounded.
struct MapWalk: ~Copyable {
    /// The one that `advance` came to.
    private(set) var key: [UInt8]
    private var next: [UInt8]
    private var isFirst = true
    private var left: Int
    private let map: Int32

    /// - Parameter limit: no more keys than this are come to.
    init(_ map: Int32, keySize: Int, limit: Int) {
        self.map = map
        key = [UInt8](repeating: 0, count: keySize)
        next = key
        left = limit
    }

    /// False at the end.
    mutating func advance() -> Bool {
        guard left > 0 else { return false }
        let (map, isFirst) = (map, isFirst)
        let result = next.withUnsafeMutableBytes { next in
            key.withUnsafeBytes { bpf_map_get_next_key(map, isFirst ? nil : $0.baseAddress, next.baseAddress) }
        }
        guard result == 0 else { return false }
        self.isFirst = false
        left -= 1
        swap(&key, &next)
        return true
    }

    /// The value of `key`; false when it is gone.
    func read(into value: inout [UInt8]) -> Bool {
        key.withUnsafeBytes { key in
            value.withUnsafeMutableBytes { bpf_map_lookup_elem(map, key.baseAddress, $0.baseAddress) == 0 }
        }
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
