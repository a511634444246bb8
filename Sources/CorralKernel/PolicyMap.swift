internal import CLinux
internal import CorralABI
internal import CorralEvents
public import CorralPolicy
internal import Glibc

/// A compiled policy in the kernel: one longest-prefix-match trie that any number of sandboxes may share. It lives while
/// this object or a slot of the instance holds it.
public final class PolicyMap: Sendable {
    /// Unique in the instance; events carry it.
    public let number: UInt32
    let descriptor: SharedDescriptor

    /// Fills a new trie. `number` is not 0.
    public init(_ policy: CompiledPolicy, number: UInt32) throws(KernelError) {
        self.number = number
        var options = bpf_map_create_opts()
        options.sz = MemoryLayout<bpf_map_create_opts>.size
        options.map_flags = UInt32(BPF_F_NO_PREALLOC)
        let entries = Self.encode(policy, number: number)
        let raw = bpf_map_create(
            BPF_MAP_TYPE_LPM_TRIE, "policy", UInt32(Self.keySize), UInt32(Self.valueSize),
            UInt32(max(entries.count, 1)),
            &options
        )
        guard raw >= 0 else { throw KernelError(call: "bpf_map_create", subject: "policy", errno: errno) }
        descriptor = SharedDescriptor(FileDescriptor(owning: raw))
        try Self.fill(raw, entries)
    }

    static let keySize = MemoryLayout<corral_policy_key>.size
    static let valueSize = MemoryLayout<corral_policy_value>.size

    /// Keys and values, each laid out as bpf/abi/corral_abi.h says.
    struct Entries {
        var keys: [UInt8] = []
        var values: [UInt8] = []
        var count = 0

        mutating func add(
            space: UInt32, prefix: UInt32, bytes: [UInt8], set: UInt32 = 0, rule: UInt32, verdict: UInt8, reason: UInt8,
            flags: UInt32 = 0
        ) {
            keys.appendWord(prefix)
            keys.append(UInt8(truncatingIfNeeded: space))
            keys.append(contentsOf: [0, 0, 0])
            keys.append(contentsOf: bytes)
            keys.append(contentsOf: repeatElement(0, count: 16 - bytes.count))
            values.appendWord(set)
            values.appendWord(rule)
            values.append(contentsOf: [verdict, reason, UInt8(truncatingIfNeeded: flags), 0])
            count += 1
        }
    }

    static func encode(_ policy: CompiledPolicy, number: UInt32) -> Entries {
        var entries = Entries()
        var flags: UInt32 = 0
        if policy.audit { flags |= CORRAL_POLICY_AUDIT.rawValue }
        if policy.allowsICMP { flags |= CORRAL_POLICY_ICMP.rawValue }
        let denied = Decision(.deny, .noPolicy)
        entries.add(
            space: CORRAL_SPACE_META.rawValue, prefix: UInt32(CORRAL_META_PREFIX), bytes: [], set: number,
            decision: denied, flags: flags
        )
        for (prefix, answer) in policy.addresses {
            let length = UInt32(CORRAL_ADDRESS_PREFIX) + UInt32(prefix.length)
            switch answer {
            case .final(let decision):
                entries.add(
                    space: CORRAL_SPACE_ADDRESS.rawValue, prefix: length, bytes: prefix.address.networkBytes,
                    decision: decision
                )
            case .ports(let set):
                entries.add(
                    space: CORRAL_SPACE_ADDRESS.rawValue, prefix: length, bytes: prefix.address.networkBytes,
                    set: UInt32(set), decision: denied, flags: CORRAL_POLICY_PORTS.rawValue
                )
            }
        }
        for (set, ports) in policy.portSets.enumerated() {
            for entry in ports {
                let bytes: [UInt8] = [
                    UInt8(truncatingIfNeeded: set >> 24), UInt8(truncatingIfNeeded: set >> 16),
                    UInt8(truncatingIfNeeded: set >> 8), UInt8(truncatingIfNeeded: set), entry.proto.rawValue,
                    UInt8(truncatingIfNeeded: entry.port >> 8), UInt8(truncatingIfNeeded: entry.port),
                ]
                entries.add(
                    space: CORRAL_SPACE_PORT.rawValue, prefix: UInt32(CORRAL_PORT_PREFIX) + UInt32(entry.length),
                    bytes: bytes, decision: entry.decision
                )
            }
        }
        return entries
    }

    private static func fill(_ map: Int32, _ entries: Entries) throws(KernelError) {
        var done = 0
        while done < entries.count {
            var count = UInt32(entries.count - done)
            let result = entries.keys.withUnsafeBytes { keys in
                entries.values.withUnsafeBytes { values in
                    bpf_map_update_batch(
                        map, keys.baseAddress.map { $0 + done * keySize },
                        values.baseAddress.map { $0 + done * valueSize },
                        &count, nil
                    )
                }
            }
            guard result >= 0 || (errno == EINTR && count > 0) else {
                throw KernelError(call: "bpf_map_update_batch", subject: "policy", errno: errno)
            }
            done += Int(count)
        }
    }
}

extension PolicyMap.Entries {
    fileprivate mutating func add(
        space: UInt32, prefix: UInt32, bytes: [UInt8], set: UInt32 = 0, decision: Decision, flags: UInt32 = 0
    ) {
        add(
            space: space, prefix: prefix, bytes: bytes, set: set, rule: RuleReference.abi(of: decision.rule),
            verdict: decision.verdict.abi, reason: decision.reason.abi, flags: flags
        )
    }
}

extension [UInt8] {
    /// Four bytes in this machine's order.
    mutating func appendWord(_ word: UInt32) {
        Swift.withUnsafeBytes(of: word) { append(contentsOf: $0) }
    }

    mutating func appendLong(_ long: UInt64) {
        Swift.withUnsafeBytes(of: long) { append(contentsOf: $0) }
    }
}
