internal import CLinux
internal import CorralABI
internal import CorralEvents
internal import CorralPolicy
internal import Dispatch
internal import Glibc

/// The rules on paths of one policy in the table `path_rules`, by the policy's number. They leave it with this object.
final class PathRuleMap: Sendable {
    private let number: UInt32
    private let table: SharedDescriptor

    /// Puts them there.
    init(_ paths: CompiledPaths, number: UInt32, in programs: BpfPrograms) throws(KernelError) {
        self.number = number
        table = try Self.table(of: programs)
        var options = bpf_map_create_opts()
        options.sz = MemoryLayout<bpf_map_create_opts>.size
        options.map_flags = UInt32(BPF_F_NO_PREALLOC)
        let raw = bpf_map_create(
            BPF_MAP_TYPE_LPM_TRIE, "paths", UInt32(MemoryLayout<corral_path_key>.size),
            UInt32(MemoryLayout<corral_path_value>.size), UInt32(CORRAL_MAX_PATH_ENTRIES), &options)
        guard raw >= 0 else { throw KernelError(call: "bpf_map_create", subject: "paths", errno: errno) }
        let map = FileDescriptor(owning: raw)
        for entry in paths.entries {
            let (key, value) = (Self.key(entry), Self.value(entry))
            let result = key.withUnsafeBytes { key in
                value.withUnsafeBytes { bpf_map_update_elem(raw, key.baseAddress, $0.baseAddress, 0) }
            }
            guard result == 0 else { throw KernelError.update(of: "paths") }
        }
        var (entry, value) = (number, map.raw)
        guard bpf_map_update_elem(table.raw, &entry, &value, 0) == 0 else { throw KernelError.update(of: "path_rules") }
    }

    /// Those that an earlier daemon has put there.
    init(adopting number: UInt32, in programs: BpfPrograms) throws(KernelError) {
        self.number = number
        table = try Self.table(of: programs)
    }

    deinit {
        let (number, table) = (number, table)
        // The kernel waits, for milliseconds, until no program can still be using them.
        DispatchQueue.global().async { Self.remove(number, from: table.raw) }
    }

    private static func table(of programs: BpfPrograms) throws(KernelError) -> SharedDescriptor {
        let raw = fcntl(try programs.map("path_rules"), F_DUPFD_CLOEXEC, 0)
        guard raw >= 0 else { throw KernelError(call: "fcntl", subject: "path_rules", errno: errno) }
        return SharedDescriptor(FileDescriptor(owning: raw))
    }

    static func remove(_ number: UInt32, from table: Int32) {
        var key = number
        _ = bpf_map_delete_elem(table, &key)
    }

    /// The policies whose rules are in the table.
    static func numbers(in table: Int32) -> [UInt32] {
        var walk = MapWalk(table, keySize: MemoryLayout<UInt32>.size, limit: 2 * Int(CORRAL_MAX_PATH_POLICIES))
        var numbers: [UInt32] = []
        while walk.advance() { numbers.append(walk.key.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }) }
        return numbers
    }

    /// struct corral_path_key
    static func key(_ entry: CompiledPaths.Entry) -> [UInt8] {
        var key: [UInt8] = []
        key.appendWord(UInt32(CORRAL_PATH_PREFIX) + 8 * UInt32(entry.key.count))
        switch entry.space {
        case .access(let access): key.append(access.abi)
        case .above: key.append(UInt8(truncatingIfNeeded: CORRAL_ACCESS_COUNT.rawValue))
        }
        key += entry.key
        return key + [UInt8](repeating: 0, count: MemoryLayout<corral_path_key>.size - key.count)
    }

    /// struct corral_path_value
    private static func value(_ entry: CompiledPaths.Entry) -> [UInt8] {
        var value: [UInt8] = []
        value.appendWord(RuleReference.abi(of: entry.rule.map { .path($0) }))
        return value + [entry.verdict.abi, 0, 0, 0]
    }
}

extension SandboxHooks {
    /// Forgets the rules on paths of all policies but these.
    public func sweepPathRules(keeping numbers: Set<UInt32>) throws(KernelError) {
        let table = try programs.map("path_rules")
        for number in PathRuleMap.numbers(in: table) where !numbers.contains(number) {
            PathRuleMap.remove(number, from: table)
        }
    }
}
