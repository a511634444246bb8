internal import CLinux
internal import CorralABI
internal import CorralEvents
public import CorralPolicy
internal import Glibc

/// Verdicts since the programs were loaded, over all sandboxes.
public struct VerdictCounts: Sendable, Equatable {
    public var byReason: [Reason: UInt64]
    /// Those that no sandbox could be charged with.
    public var uncharged: UInt64
}

/// How often a program of Corral's ran, and for how long.
public struct ProgramRuns: Sendable, Equatable {
    public var name: String
    public var runs: UInt64
    public var nanoseconds: UInt64
}

extension SandboxHooks {
    public func verdictCounts() throws(KernelError) -> VerdictCounts {
        let map = try programs.map("verdicts")
        let cpus = Int(libbpf_num_possible_cpus())
        guard cpus > 0 else { throw KernelError(call: "libbpf_num_possible_cpus", subject: "", errno: ENOSYS) }
        func count(_ index: UInt32) throws(KernelError) -> UInt64 {
            var key = index
            var values = [UInt64](repeating: 0, count: cpus)
            guard values.withUnsafeMutableBytes({ bpf_map_lookup_elem(map, &key, $0.baseAddress) }) == 0 else {
                throw KernelError(call: "bpf_map_lookup_elem", subject: "verdicts[\(index)]", errno: errno)
            }
            return values.reduce(0, &+)
        }
        let reasons = UInt32(CORRAL_REASON_COUNT.rawValue)
        var counts = VerdictCounts(byReason: [:], uncharged: try count(reasons))
        for index in 0..<reasons {
            guard let number = UInt8(exactly: index), let reason = Reason(abi: number) else { continue }
            counts.byReason[reason] = try count(index)
        }
        return counts
    }

    /// Empty unless the host measures them (`sysctl kernel.bpf_stats_enabled=1`).
    public func programRuns() throws(KernelError) -> [ProgramRuns] {
        var times: [ProgramRuns] = []
        func add(_ name: String, _ descriptor: Int32) throws(KernelError) {
            var info = bpf_prog_info()
            var size = UInt32(MemoryLayout<bpf_prog_info>.size)
            guard bpf_obj_get_info_by_fd(descriptor, &info, &size) == 0 else {
                throw KernelError(call: "bpf_obj_get_info_by_fd", subject: name, errno: errno)
            }
            guard info.run_cnt > 0 else { return }
            times.append(ProgramRuns(name: name, runs: info.run_cnt, nanoseconds: info.run_time_ns))
        }
        for hook in BpfPrograms.cgroupHooks { try add(hook.name, try programs.cgroupProgram(hook.name)) }
        for hook in BpfPrograms.foreignCgroupHooks { try add(hook.name, try programs.foreignCgroupProgram(hook.name)) }
        for name in ["from_sandbox", "to_sandbox"] { try add(name, try programs.vethProgram(name)) }
        return times
    }

    /// Runs that the kernel left out, because the program ran on that CPU already.
    public func programMisses() throws(KernelError) -> [(name: String, misses: UInt64)] {
        var misses: [(name: String, misses: UInt64)] = []
        for hook in BpfPrograms.cgroupHooks {
            misses.append((hook.name, try Self.misses(hook.name, programs.cgroupProgram(hook.name))))
        }
        for hook in BpfPrograms.foreignCgroupHooks {
            misses.append((hook.name, try Self.misses(hook.name, programs.foreignCgroupProgram(hook.name))))
        }
        for name in ["from_sandbox", "to_sandbox"] {
            misses.append((name, try Self.misses(name, programs.vethProgram(name))))
        }
        return misses
    }

    static func misses(_ name: String, _ descriptor: Int32) throws(KernelError) -> UInt64 {
        var info = bpf_prog_info()
        var size = UInt32(MemoryLayout<bpf_prog_info>.size)
        guard bpf_obj_get_info_by_fd(descriptor, &info, &size) == 0 else {
            throw KernelError(call: "bpf_obj_get_info_by_fd", subject: name, errno: errno)
        }
        return info.recursion_misses
    }

    /// Entries of maps that can be full. Blocks: each is walked through, some milliseconds for 100,000 entries. A map that
    /// cannot be walked is left out.
    public func mapEntries() -> [(name: String, entries: Int, limit: Int)] {
        let maps: [(String, UInt32, Int)] = [
            ("flows", CORRAL_MAX_FLOWS, MemoryLayout<corral_flow_key>.size),
            ("announced", CORRAL_MAX_ANNOUNCED, MemoryLayout<corral_announced_key>.size),
            ("pins", CORRAL_MAX_PINS, MemoryLayout<corral_pin_key>.size),
            ("published", CORRAL_MAX_PUBLISHED, MemoryLayout<corral_port_key>.size),
        ]
        return maps.compactMap { name, limit, keySize in
            guard let map = try? programs.map(name) else { return nil }
            var walk = MapWalk(map, keySize: keySize, limit: Int(limit))
            var count = 0
            while walk.advance() { count += 1 }
            return (name, count, Int(limit))
        }
    }

    /// How many sandboxes and cgroups the maps have room for, and how many addresses of names, over all of them.
    public static var mostSlots: Int { Int(CORRAL_MAX_SLOTS) }
    public static var mostPins: Int { Int(CORRAL_MAX_PINS) }
}
