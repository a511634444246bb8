/// What a sandbox may use at most; `nil` is no limit.
public struct CgroupLimits: Sendable, Equatable {
    /// Processors' worth of time, 1.5 for instance; at least 0.01.
    public var cpu: Double?
    public var memoryBytes: UInt64?
    /// Processes and threads.
    public var pids: UInt32?

    public init(cpu: Double? = nil, memoryBytes: UInt64? = nil, pids: UInt32? = nil) {
        self.cpu = cpu
        self.memoryBytes = memoryBytes
        self.pids = pids
    }

    /// Length of the accounting period, in microseconds.
    static let cpuPeriod = 100_000

    /// Time in each period, in microseconds; the kernel takes no less than a millisecond. Beyond a million processors
    /// there is no difference any more.
    static func cpuQuota(_ cpu: Double) -> Int {
        let cpu = cpu.isNaN ? 0 : min(max(cpu, 0.01), 1_000_000)
        return Int(max(cpu, 0.01) * Double(cpuPeriod))
    }

    /// The controllers that carry a limit.
    var controllers: [String] {
        var names: [String] = []
        if memoryBytes != nil { names.append("memory") }
        if cpu != nil { names.append("cpu") }
        if pids != nil { names.append("pids") }
        return names
    }

    struct Setting: Equatable {
        var file: String
        var value: String
        /// Left out where the kernel was built without the knob.
        var isOptional = false
    }

    /// What to write into the v2 cgroup for one controller.
    func v2Settings(_ controller: String) -> [Setting] {
        switch controller {
        case "memory":
            guard let memoryBytes else { return [] }
            return [
                Setting(file: "memory.max", value: "\(memoryBytes)"),
                Setting(file: "memory.swap.max", value: "0", isOptional: true),
                // Whole or not at all: half a sandbox is of no use to anybody.
                Setting(file: "memory.oom.group", value: "1"),
            ]
        case "cpu":
            guard let cpu else { return [] }
            return [Setting(file: "cpu.max", value: "\(Self.cpuQuota(cpu)) \(Self.cpuPeriod)")]
        case "pids":
            guard let pids else { return [] }
            return [Setting(file: "pids.max", value: "\(pids)")]
        default:
            return []
        }
    }

    /// What to write into the v1 cgroup of one controller.
    func v1Settings(_ controller: String) -> [Setting] {
        switch controller {
        case "memory":
            guard let memoryBytes else { return [] }
            return [
                Setting(file: "memory.limit_in_bytes", value: "\(memoryBytes)"),
                // Memory and swap together: no swap. Must not be below the limit, hence after it.
                Setting(file: "memory.memsw.limit_in_bytes", value: "\(memoryBytes)", isOptional: true),
                Setting(file: "memory.swappiness", value: "0", isOptional: true),
            ]
        case "cpu":
            guard let cpu else { return [] }
            return [
                Setting(file: "cpu.cfs_period_us", value: "\(Self.cpuPeriod)"),
                Setting(file: "cpu.cfs_quota_us", value: "\(Self.cpuQuota(cpu))"),
            ]
        case "pids":
            guard let pids else { return [] }
            return [Setting(file: "pids.max", value: "\(pids)")]
        default:
            return []
        }
    }
}
