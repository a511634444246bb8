internal import Glibc
internal import Synchronization

/// What a sandbox uses of the host now.
public struct CgroupUsage: Sendable, Equatable {
    /// CPU time since it was made, nanoseconds.
    public var cpuTime: UInt64 = 0
    /// Bytes: what its memory cgroup holds, or, without one, the sum of what its processes hold, shared pages counted for each.
    public var memory: UInt64 = 0
    /// Processes, the sandbox's pid 1 among them.
    public var processes = 0

    public init() {}
}

extension SandboxCgroup {
    /// Blocks for some microseconds. What cannot be read, as of a sandbox that is just going, is 0.
    public func usage() -> CgroupUsage {
        var usage = CgroupUsage()
        if let content = try? CgroupFile.read("\(path)/cpu.stat") {
            usage.cpuTime = Self.value(of: "usage_usec", in: content).multipliedReportingOverflow(by: 1000).partialValue
        }
        let pids = ((try? CgroupFile.read("\(path)/cgroup.procs")) ?? "").split(separator: "\n")
        usage.processes = pids.count
        let memory = v1.withLock { $0["memory"] }.map { "\($0)/memory.usage_in_bytes" } ?? "\(path)/memory.current"
        if let content = try? CgroupFile.read(memory), let bytes = UInt64(content.prefix { $0 != "\n" }) {
            usage.memory = bytes
        } else {
            let page = UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
            for pid in pids {
                let fields = ((try? CgroupFile.read("/proc/\(pid)/statm")) ?? "").split(separator: " ")
                guard fields.count > 1, let resident = UInt64(fields[1]) else { continue }
                usage.memory &+= resident &* page
            }
        }
        return usage
    }
}
