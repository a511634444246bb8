internal import CLinux
internal import Glibc
internal import Synchronization

/// The cgroups of one sandbox: one on v2, where the hooks are, and one on each v1 hierarchy that carries a limit.
public final class SandboxCgroup: Sendable {
    /// The v2 directory.
    public let path: String
    /// The number BPF knows the v2 cgroup by.
    public let id: UInt64
    private let hierarchy: CgroupHierarchy
    private let relative: String
    private let legacy = Mutex<[String: String]>([:])

    public static func create(
        hierarchy: CgroupHierarchy, instance: String, id: String
    ) throws(KernelError) -> SandboxCgroup {
        try SandboxCgroup(hierarchy: hierarchy, instance: instance, name: id)
    }

    private init(hierarchy: CgroupHierarchy, instance: String, name: String) throws(KernelError) {
        self.hierarchy = hierarchy
        relative = "corral/\(instance)/\(name)"
        let path = "\(hierarchy.unified)/\(relative)"
        self.path = path
        var parents = [hierarchy.unified, "\(hierarchy.unified)/corral", "\(hierarchy.unified)/corral/\(instance)"]
        for directory in parents.dropFirst() { try makeDirectory(directory, mode: 0o755) }
        if hierarchy.isPure {
            // From the root down; the root may already have them on.
            parents.removeAll { Self.enabled(in: $0).isSuperset(of: CgroupHierarchy.controllers) }
            for directory in parents {
                try writeFile(
                    directory + "/cgroup.subtree_control",
                    CgroupHierarchy.controllers.map { "+\($0)" }.joined(separator: " ")
                )
            }
        }
        try systemCall("mkdir", on: path) { mkdir(path, 0o755) }
        let directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
        var number: UInt64 = 0
        let raw = directory.raw
        try systemCall("name_to_handle_at", on: path) { corral_cgroup_id(raw, &number) }
        id = number
    }

    private static func enabled(in directory: String) -> Set<String> {
        let bytes = (try? readFile(directory + "/cgroup.subtree_control")) ?? []
        return Set(String(decoding: bytes, as: UTF8.self).split(whereSeparator: { $0 == " " || $0 == "\n" }).map(String.init))
    }

    public func directory() throws(KernelError) -> FileDescriptor {
        try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
    }

    /// Period of the CPU quota, in microseconds.
    private static let period: Double = 100_000

    /// Puts limits on a sandbox whose only process is `pid`; on a hybrid host it moves into new v1 cgroups for that.
    public func apply(_ limits: CgroupLimits, pid: Int32) throws(KernelError) {
        if let cpu = limits.cpu {
            let quota = Int64(max(1_000, (cpu * Self.period).rounded()))
            if let directory = try limitDirectory("cpu", pid: pid) {
                try writeFile(directory + "/cpu.cfs_period_us", "\(Int64(Self.period))")
                try writeFile(directory + "/cpu.cfs_quota_us", "\(quota)")
            } else {
                try writeFile(path + "/cpu.max", "\(quota) \(Int64(Self.period))")
            }
        }
        if let memory = limits.memoryBytes {
            if let directory = try limitDirectory("memory", pid: pid) {
                try writeFile(directory + "/memory.limit_in_bytes", "\(memory)")
                // Absent where swap accounting is off.
                try ignoringAbsence { () throws(KernelError) in
                    try writeFile(directory + "/memory.memsw.limit_in_bytes", "\(memory)")
                }
            } else {
                try writeFile(path + "/memory.max", "\(memory)")
                try ignoringAbsence { () throws(KernelError) in try writeFile(path + "/memory.swap.max", "0") }
                try writeFile(path + "/memory.oom.group", "1")
            }
        }
        if let pids = limits.pids {
            // pid 1 is not the command's.
            let maximum = UInt64(pids) + 1
            if let directory = try limitDirectory("pids", pid: pid) {
                try writeFile(directory + "/pids.max", "\(maximum)")
            } else {
                try writeFile(path + "/pids.max", "\(maximum)")
            }
        }
    }

    private func ignoringAbsence(_ body: () throws(KernelError) -> Void) throws(KernelError) {
        do { try body() } catch let error where error.errno == ENOENT {}
    }

    /// The v1 cgroup that carries this controller's limit, made and joined; nil where the controller is on v2.
    private func limitDirectory(_ controller: String, pid: Int32) throws(KernelError) -> String? {
        guard let mount = hierarchy.legacy[controller] else { return nil }
        let directory = "\(mount)/\(relative)"
        var part = mount
        for component in relative.split(separator: "/") {
            part += "/\(component)"
            try makeDirectory(part, mode: 0o755)
        }
        legacy.withLock { $0[controller] = directory }
        try writeFile(directory + "/cgroup.procs", "\(pid)")
        return directory
    }

    /// How often the kernel has killed for want of memory here.
    public func oomKills() -> UInt64 {
        let file = legacy.withLock { $0["memory"] }.map { $0 + "/memory.oom_control" } ?? path + "/memory.events"
        let bytes = (try? readFile(file)) ?? []
        for line in String(decoding: bytes, as: UTF8.self).split(separator: "\n") where line.hasPrefix("oom_kill ") {
            return UInt64(line.dropFirst(9)) ?? 0
        }
        return 0
    }

    /// SIGKILL to every process; they may take a moment to be gone.
    public func killAll() {
        killCgroup(path)
    }

    /// Waits for the last process, up to two seconds.
    public func remove() throws(KernelError) {
        try removeCgroup(path)
        for directory in legacy.withLock({ Array($0.values) }) { try removeCgroup(directory) }
    }
}
