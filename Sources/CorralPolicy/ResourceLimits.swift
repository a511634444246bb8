/// Nil leaves a resource unlimited, or as the host has it.
public struct ResourceLimits: Sendable, Hashable {
    /// CPUs' worth of time.
    public var cpu: Double?
    /// Share of the CPUs when they are short, 1 to 10000; 100 is the usual one.
    public var cpuWeight: UInt32?
    /// Bytes; none of them swapped.
    public var memory: UInt64?
    public var pids: UInt32?
    /// Bytes the sandbox may write, and one file for each 4 KiB of them.
    public var disk: UInt64?
    /// Descriptors that one process may have open.
    public var openFiles: UInt64?
    /// Bytes a second, from and to each disk.
    public var ioRead: UInt64?
    public var ioWrite: UInt64?
    public var timeout: Duration?

    public init(
        cpu: Double? = nil, memory: UInt64? = nil, pids: UInt32? = nil, disk: UInt64? = nil, timeout: Duration? = nil
    ) {
        self.cpu = cpu
        self.memory = memory
        self.pids = pids
        self.disk = disk
        self.timeout = timeout
    }
}
