internal import CorralKernel

/// A sandbox and what it uses. Times: nanoseconds since 1970, UTC.
public struct SandboxUsage: Sendable {
    public var info: SandboxInfo
    /// CPU time since it was made, nanoseconds.
    public var cpuTime: UInt64
    /// Bytes.
    public var memory: UInt64
    /// The sandbox's pid 1 among them.
    public var processes: Int
    /// When it was measured.
    public var time: Int64

    public init(info: SandboxInfo, cpuTime: UInt64, memory: UInt64, processes: Int, time: Int64) {
        self.info = info
        self.cpuTime = cpuTime
        self.memory = memory
        self.processes = processes
        self.time = time
    }
}

extension Engine {
    /// Of all that were not removed, oldest first.
    public func usage() async -> [SandboxUsage] {
        let sandboxes = live.values.map { (info($0), $0.warm.cgroup) }
        let measured = try? await measuring.run {
            sandboxes.map { info, cgroup in
                let isOver = if case .exited = info.state { true } else { false }
                let usage = isOver ? CgroupUsage() : cgroup.usage()
                return SandboxUsage(
                    info: info, cpuTime: usage.cpuTime, memory: usage.memory, processes: usage.processes,
                    time: Clock.realtime())
            }
        }
        return (measured ?? []).sorted { ($0.info.createdAt, $0.info.id) < ($1.info.createdAt, $1.info.id) }
    }
}
