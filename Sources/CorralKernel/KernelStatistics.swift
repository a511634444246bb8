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
    /// 0 unless the host measures it (`sysctl kernel.bpf_stats_enabled=1`), and so is the time.
    public var runs: UInt64
    public var nanoseconds: UInt64
    /// That the kernel left out, because the program ran on that CPU already.
    public var misses: UInt64

    public init(name: String, runs: UInt64, nanoseconds: UInt64, misses: UInt64) {
        self.name = name
        self.runs = runs
        self.nanoseconds = nanoseconds
        self.misses = misses
    }

    init(_ name: String, _ descriptor: Int32) throws(KernelError) {
        var info = bpf_prog_info()
        var size = UInt32(MemoryLayout<bpf_prog_info>.size)
        guard bpf_obj_get_info_by_fd(descriptor, &info, &size) == 0 else {
            throw KernelError(call: "bpf_obj_get_info_by_fd", subject: name, errno: errno)
        }
        self.init(
            name: name, runs: info.run_cnt, nanoseconds: info.run_time_ns, misses: info.recursion_misses)
    }
}

extension SandboxHooks {
    public func verdictCounts() throws(KernelError) -> VerdictCounts {
        let values = try counts(in: "verdicts", CORRAL_REASON_COUNT.rawValue + 1)
        var counts = VerdictCounts(byReason: [:], uncharged: values.last ?? 0)
        for (index, value) in values.dropLast().enumerated() {
            guard let number = UInt8(exactly: index), let reason = Reason(abi: number) else { continue }
            counts.byReason[reason] = value
        }
        return counts
    }

    /// How often the kernel did not do what a program asked it for, since the programs were loaded, by helper and what it was for.
    public func helperFailures() throws(KernelError) -> [(helper: String, subject: String, count: UInt64)] {
        let names: [(corral_failure, String, String)] = [
            (CORRAL_FAILURE_FLOWS, "map_update_elem", "flows"),
            (CORRAL_FAILURE_ANNOUNCED, "map_update_elem", "announced"),
            (CORRAL_FAILURE_ASKED, "map_update_elem", "asked"),
            (CORRAL_FAILURE_ASSIGN, "sk_assign", "resolver"),
            (CORRAL_FAILURE_DECISIONS, "ringbuf_reserve", "decisions"),
            (CORRAL_FAILURE_TRACE, "ringbuf_reserve", "trace"),
            (CORRAL_FAILURE_THREAD, "task_storage_get", "threads"),
        ]
        let values = try counts(in: "failures", CORRAL_FAILURE_COUNT.rawValue)
        return names.map { ($0.1, $0.2, values[Int($0.0.rawValue)]) }
    }

    /// Each over all CPUs.
    private func counts(in name: String, _ entries: UInt32) throws(KernelError) -> [UInt64] {
        let map = try programs.map(name)
        let cpus = Int(libbpf_num_possible_cpus())
        guard cpus > 0 else { throw KernelError(call: "libbpf_num_possible_cpus", subject: "", errno: ENOSYS) }
        var counts: [UInt64] = []
        for index in 0..<entries {
            var key = index
            var values = [UInt64](repeating: 0, count: cpus)
            guard values.withUnsafeMutableBytes({ bpf_map_lookup_elem(map, &key, $0.baseAddress) }) == 0 else {
                throw KernelError(call: "bpf_map_lookup_elem", subject: "\(name)[\(index)]", errno: errno)
            }
            counts.append(values.reduce(0, &+))
        }
        return counts
    }

    /// What the kernel knows of each program.
    public func programRuns() throws(KernelError) -> [ProgramRuns] {
        var runs: [ProgramRuns] = []
        for hook in BpfPrograms.cgroupHooks {
            runs.append(try ProgramRuns(hook.name, programs.cgroupProgram(hook.name)))
        }
        for hook in BpfPrograms.foreignCgroupHooks {
            runs.append(try ProgramRuns(hook.name, programs.foreignCgroupProgram(hook.name)))
        }
        for name in ["from_sandbox", "to_sandbox"] {
            runs.append(try ProgramRuns(name, programs.vethProgram(name)))
        }
        return runs
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
