internal import CLinux
internal import CorralABI
internal import CorralEvents
public import CorralPolicy
internal import Glibc
internal import Synchronization

/// A compiled policy in the kernel: one longest-prefix-match trie that any number of sandboxes may share. It lives while
/// this object or a slot of the instance holds it.
public final class PolicyMap: Sendable {
    /// Unique in the instance; events carry it.
    public let number: UInt32
    /// Port sets of the rules on names, by index into `egress.allow`.
    public let namePorts: [Int: Int]
    let descriptor: SharedDescriptor
    /// Nil where it has none, or another object keeps them.
    private let paths: Mutex<PathRuleMap?>

    /// Fills a new trie. `number` is not 0.
    /// - Parameter programs: whose instance gets the rules on paths; not needed by a policy without.
    public init(_ policy: CompiledPolicy, number: UInt32, in programs: BpfPrograms? = nil) throws(KernelError) {
        self.number = number
        if policy.paths.judged.isEmpty {
            paths = Mutex(nil)
        } else {
            guard let programs else {
                throw KernelError(call: "PolicyMap", subject: "path_rules", errno: EINVAL, detail: "no instance")
            }
            paths = Mutex(try PathRuleMap(policy.paths, number: number, in: programs))
        }
        namePorts = policy.namePorts
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

    /// One that an earlier daemon has filled.
    init(adopting map: consuming FileDescriptor, namePorts: [Int: Int]) throws(KernelError) {
        var entries = Entries(capacity: 1)
        entries.add(
            space: CORRAL_SPACE_META, prefix: UInt32(CORRAL_FULL_PREFIX), verdict: .deny, reason: .noPolicy)
        var value = [UInt8](repeating: 0, count: Self.valueSize)
        let raw = map.raw
        let result = entries.keys.withUnsafeBytes { key in
            value.withUnsafeMutableBytes { bpf_map_lookup_elem(raw, key.baseAddress, $0.baseAddress) }
        }
        guard result == 0 else { throw KernelError(call: "bpf_map_lookup_elem", subject: "policy", errno: errno) }
        number = value.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
        self.namePorts = namePorts
        paths = Mutex(nil)
        descriptor = SharedDescriptor(map)
    }

    /// Of one that an earlier daemon has filled: its rules on paths last as long as this object.
    public func keepPathRules(in programs: BpfPrograms) throws(KernelError) {
        try paths.withLock { paths throws(KernelError) in
            if paths == nil { paths = try PathRuleMap(adopting: number, in: programs) }
        }
    }

    static let keySize = MemoryLayout<corral_policy_key>.size
    static let valueSize = MemoryLayout<corral_policy_value>.size

    /// Keys and values, each laid out as bpf/abi/corral_abi.h says.
    struct Entries {
        var keys: [UInt8] = []
        var values: [UInt8] = []
        var count = 0

        init(capacity: Int) {
            keys.reserveCapacity(capacity * keySize)
            values.reserveCapacity(capacity * valueSize)
        }

        /// - Parameters:
        ///   - first: the key's bytes 0...7, most significant first.
        ///   - second: its bytes 8...15.
        mutating func add(
            space: corral_policy_space, prefix: UInt32, first: UInt64 = 0, second: UInt64 = 0, set: UInt32 = 0,
            rule: UInt32 = CORRAL_NO_RULE, verdict: Verdict, reason: Reason, flags: UInt32 = 0,
            permitted: UInt8 = 0
        ) {
            keys.appendWord(prefix)
            keys.append(UInt8(truncatingIfNeeded: space.rawValue))
            keys.append(contentsOf: [0, 0, 0])
            keys.appendLong(first.bigEndian)
            keys.appendLong(second.bigEndian)
            values.appendWord(set)
            values.appendWord(rule)
            values.append(verdict.abi)
            values.append(reason.abi)
            values.append(UInt8(truncatingIfNeeded: flags))
            values.append(permitted)
            count += 1
        }
    }

    static func encode(_ policy: CompiledPolicy, number: UInt32) -> Entries {
        var entries = Entries(capacity: policy.addresses.count + policy.portSets.reduce(0) { $0 + $1.count } + 1)
        var flags: UInt32 = 0
        if policy.audit { flags |= CORRAL_POLICY_AUDIT.rawValue }
        if policy.allowsICMP { flags |= CORRAL_POLICY_ICMP.rawValue }
        if policy.resolvesNames { flags |= CORRAL_POLICY_NAMES.rawValue }
        for access in policy.paths.judged { flags |= access.flag }
        entries.add(
            space: CORRAL_SPACE_META, prefix: UInt32(CORRAL_META_PREFIX), set: number, verdict: .deny,
            reason: .noPolicy, flags: flags, permitted: policy.operations.reduce(0) { $0 | $1.permit }
        )
        for entry in policy.addresses {
            let length = UInt32(CORRAL_ADDRESS_PREFIX) + UInt32(entry.prefix.length)
            let address = entry.prefix.address
            switch entry.answer {
            case .final(let decision):
                entries.add(
                    space: CORRAL_SPACE_ADDRESS, prefix: length, first: address.high, second: address.low,
                    rule: RuleReference.abi(of: decision.rule), verdict: decision.verdict, reason: decision.reason
                )
            case .ports(let set, let rule):
                entries.add(
                    space: CORRAL_SPACE_ADDRESS, prefix: length, first: address.high, second: address.low,
                    set: UInt32(set), rule: RuleReference.abi(of: rule), verdict: .deny, reason: .noPolicy,
                    flags: CORRAL_POLICY_PORTS.rawValue
                )
            }
        }
        for (set, ports) in policy.portSets.enumerated() {
            for entry in ports {
                let rule =
                    switch entry.rule {
                    case .none: CORRAL_NO_RULE
                    case .ofAddress: CORRAL_RULE_OF_ADDRESS
                    case .rule(let rule): RuleReference.abi(of: rule)
                    }
                // Set, protocol, port, a zero byte.
                let key = UInt64(set) << 32 | UInt64(entry.proto.rawValue) << 24 | UInt64(entry.port) << 8
                entries.add(
                    space: CORRAL_SPACE_PORT, prefix: UInt32(CORRAL_PORT_PREFIX) + UInt32(entry.length), first: key,
                    rule: rule, verdict: entry.verdict, reason: entry.reason
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

extension [UInt8] {
    /// Four bytes in this machine's order.
    mutating func appendWord(_ word: UInt32) {
        Swift.withUnsafeBytes(of: word) { append(contentsOf: $0) }
    }

    mutating func appendLong(_ long: UInt64) {
        Swift.withUnsafeBytes(of: long) { append(contentsOf: $0) }
    }
}
