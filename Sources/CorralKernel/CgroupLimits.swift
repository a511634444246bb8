/// What a sandbox may use at most; `nil` is no limit.
public struct CgroupLimits: Sendable, Equatable {
    /// Processors' worth of time, 1.5 for instance; at least 0.01.
    public var cpu: Double?
    public var memoryBytes: UInt64?
    /// Share of the processors when they are short, 1 to 10000; 100 is what others have.
    public var cpuWeight: UInt32?
    /// Processes and threads of the sandbox's commands.
    public var pids: UInt32?
    /// Bytes a second from and to each disk; cgroup v2 alone has them.
    public var ioRead: UInt64?
    public var ioWrite: UInt64?

    public init(
        cpu: Double? = nil, cpuWeight: UInt32? = nil, memoryBytes: UInt64? = nil, pids: UInt32? = nil,
        ioRead: UInt64? = nil, ioWrite: UInt64? = nil
    ) {
        self.cpu = cpu
        self.cpuWeight = cpuWeight
        self.memoryBytes = memoryBytes
        self.pids = pids
        self.ioRead = ioRead
        self.ioWrite = ioWrite
    }

    /// Beyond the limit on pids, for corral-init and for what it starts in a sandbox that is full. Commands are held to the limit
    /// itself by RLIMIT_NPROC.
    static let reservedPids: UInt32 = 32

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
        if cpu != nil || cpuWeight != nil { names.append("cpu") }
        if pids != nil { names.append("pids") }
        if ioRead != nil || ioWrite != nil { names.append("io") }
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
            return [
                cpu.map { Setting(file: "cpu.max", value: "\(Self.cpuQuota($0)) \(Self.cpuPeriod)") },
                cpuWeight.map { Setting(file: "cpu.weight", value: "\($0)") },
            ].compactMap { $0 }
        case "pids":
            guard let pids else { return [] }
            return [Setting(file: "pids.max", value: "\(UInt64(pids) + UInt64(Self.reservedPids))")]
        case "io":
            let rates = [ioRead.map { "rbps=\($0)" }, ioWrite.map { "wbps=\($0)" }].compactMap { $0 }
            return BlockDevices.disks().map {
                // Some take no limit: a disk without requests of its own, or one that is just going.
                Setting(file: "io.max", value: "\($0) \(rates.joined(separator: " "))", isOptional: true)
            }
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
            var settings: [Setting] = []
            if let cpu {
                settings.append(Setting(file: "cpu.cfs_period_us", value: "\(Self.cpuPeriod)"))
                settings.append(Setting(file: "cpu.cfs_quota_us", value: "\(Self.cpuQuota(cpu))"))
            }
            // 1024 is what others have; the kernel takes no less than 2.
            if let cpuWeight {
                settings.append(Setting(file: "cpu.shares", value: "\(max(2, UInt64(cpuWeight) * 1024 / 100))"))
            }
            return settings
        case "pids":
            guard let pids else { return [] }
            return [Setting(file: "pids.max", value: "\(UInt64(pids) + UInt64(Self.reservedPids))")]
        default:
            return []
        }
    }
}
