internal import CLinux
internal import Glibc
internal import Synchronization

/// One sandbox's cgroup: `corral/<instance>/<id>` in v2, and in those v1 hierarchies whose controller limits it.
public final class SandboxCgroup: Sendable {
    /// The number that BPF knows it by.
    public let id: UInt64
    /// The v2 directory.
    public let path: String
    /// It again, for `Spawner.spawn` and for what asks the kernel of its hooks. Open while this lives: a start opens no file.
    public let directory: FileDescriptor

    private let hierarchy: CgroupHierarchy
    /// Below every hierarchy's mount.
    private let relativePath: String
    private let instancePath: String
    /// Directories in v1 hierarchies by their controller.
    let v1 = Mutex<[String: String]>([:])

    private init(
        existing relativePath: String, _ instance: String, _ hierarchy: CgroupHierarchy
    ) throws(KernelError) {
        let path = "\(hierarchy.v2)/\(relativePath)"
        let directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
        let raw = directory.raw
        var number: UInt64 = 0
        try systemCall("name_to_handle_at", on: path) { corral_cgroup_id(raw, &number) }
        id = number
        self.directory = directory
        self.path = path
        self.hierarchy = hierarchy
        self.relativePath = relativePath
        instancePath = "corral/\(instance)"
    }

    /// Makes the v2 directory; EEXIST when there is one of this name.
    /// - Parameters:
    ///   - instance, id: letters, digits, `-`, `_` and `.`.
    public static func create(
        hierarchy: CgroupHierarchy, instance: String, id: String
    ) throws(KernelError) -> SandboxCgroup {
        let relativePath = try relativePath(instance, id)
        let path = "\(hierarchy.v2)/\(relativePath)"
        try CgroupFile.makeDirectory("\(hierarchy.v2)/corral")
        try CgroupFile.makeDirectory("\(hierarchy.v2)/corral/\(instance)")
        try systemCall("mkdir", on: path) { mkdir(path, 0o755) }
        do throws(KernelError) {
            return try SandboxCgroup(existing: relativePath, instance, hierarchy)
        } catch {
            _ = rmdir(path)
            throw error
        }
    }

    /// One that `create` made, in this process or an earlier one. Throws ENOENT.
    public static func open(
        hierarchy: CgroupHierarchy, instance: String, id: String
    ) throws(KernelError) -> SandboxCgroup {
        let relativePath = try relativePath(instance, id)
        let cgroup = try SandboxCgroup(existing: relativePath, instance, hierarchy)
        for (controller, mount) in hierarchy.v1 {
            let directory = "\(mount)/\(relativePath)"
            if CgroupFile.exists(directory) { cgroup.v1.withLock { $0[controller] = directory } }
        }
        return cgroup
    }

    private static func relativePath(_ instance: String, _ id: String) throws(KernelError) -> String {
        try CgroupHierarchy.check(instance, named: "instance")
        try CgroupHierarchy.check(id, named: "sandbox")
        return "corral/\(instance)/\(id)"
    }

    /// Sets the limits that are not `nil`. On a hybrid host makes the v1 cgroups they need and moves `pid` there (corral-init,
    /// parked: what it starts later follows). Throws ENOTSUP when the host has no controller for a limit.
    public func apply(_ limits: CgroupLimits, pid: Int32) throws(KernelError) {
        for controller in limits.controllers {
            if let mount = hierarchy.v1[controller] {
                try applyV1(limits, controller, mount: mount, pid: pid)
            } else {
                try enableV2(controller)
                try Self.write(limits.v2Settings(controller), into: path)
            }
        }
    }

    private func applyV1(
        _ limits: CgroupLimits, _ controller: String, mount: String, pid: Int32
    ) throws(KernelError) {
        let directory = "\(mount)/\(relativePath)"
        if !CgroupFile.exists(directory) {
            try CgroupFile.makeDirectory("\(mount)/corral")
            try CgroupFile.makeDirectory("\(mount)/\(instancePath)")
            try CgroupFile.makeDirectory(directory)
        }
        // Before anything else can fail, so that `remove` finds it.
        v1.withLock { $0[controller] = directory }
        try Self.write(limits.v1Settings(controller), into: directory)
        try CgroupFile.write("\(pid)", to: "\(directory)/cgroup.procs")
    }

    /// Makes the controller's files appear. Neither the root nor our own inner directories hold processes of ours, so
    /// the rule against processes in inner cgroups is kept.
    private func enableV2(_ controller: String) throws(KernelError) {
        let isEnabled = try CgroupFile.read("\(path)/cgroup.controllers")
            .split(whereSeparator: \.isWhitespace).contains { $0 == controller }
        if isEnabled { return }
        let available = try CgroupFile.read("\(hierarchy.v2)/cgroup.controllers")
        guard available.split(whereSeparator: \.isWhitespace).contains(where: { $0 == controller }) else {
            throw KernelError(
                call: "cgroup limit", subject: controller, errno: ENOTSUP,
                detail: controller == "io"
                    ? "the host has no io controller in cgroup v2"
                    : "the host has no \(controller) controller, neither in cgroup v2 nor in v1")
        }
        for inner in [hierarchy.v2, "\(hierarchy.v2)/corral", "\(hierarchy.v2)/\(instancePath)"] {
            try CgroupFile.write("+\(controller)", to: "\(inner)/cgroup.subtree_control")
        }
    }

    private static func write(_ settings: [CgroupLimits.Setting], into directory: String) throws(KernelError) {
        for setting in settings {
            do throws(KernelError) {
                try CgroupFile.write(setting.value, to: "\(directory)/\(setting.file)")
            } catch {
                if setting.isOptional, error.errno == ENOENT || error.errno == EOPNOTSUPP { continue }
                throw error
            }
        }
    }

    /// How often each of the limits was hit. Reads a file for each; one that cannot be read tells of nothing.
    public func limitCounts(_ limits: CgroupLimits) -> LimitCounts {
        let v1 = v1.withLock { $0 }
        func content(_ controller: String, _ name: String) -> String? {
            try? CgroupFile.read("\(v1[controller] ?? path)/\(name)")
        }
        var counts = LimitCounts()
        if limits.memoryBytes != nil {
            let events = content("memory", v1["memory"] == nil ? "memory.events" : "memory.oom_control")
            counts.oomKills = events.map { Self.value(of: "oom_kill", in: $0) } ?? 0
        }
        if let pids = limits.pids {
            counts.pidsRefused = content("pids", "pids.events").map { Self.value(of: "max", in: $0) } ?? 0
            // corral-init is one of them, and stands outside the limit.
            let current = content("pids", "pids.current")?.split(separator: "\n").first.flatMap { UInt64($0) } ?? 0
            counts.isFullOfProcesses = current > UInt64(pids)
        }
        if limits.cpu != nil {
            counts.cpuThrottled = content("cpu", "cpu.stat").map { Self.value(of: "nr_throttled", in: $0) } ?? 0
        }
        return counts
    }

    /// Whether the kernel kills all of it when memory runs out; otherwise it kills one process.
    public var isKilledAsAUnit: Bool { v1.withLock { $0["memory"] } == nil }

    /// Since the sandbox began.
    public struct LimitCounts: Sendable, Equatable {
        /// Processes that the kernel killed for lack of memory.
        public var oomKills: UInt64 = 0
        /// Forks that the cgroup refused; those that RLIMIT_NPROC refuses are not counted by the kernel.
        public var pidsRefused: UInt64 = 0
        /// There are as many processes now as there may be.
        public var isFullOfProcesses = false
        /// Periods of a tenth of a second in which the processors' time was used up.
        public var cpuThrottled: UInt64 = 0

        public init() {}
    }

    static func value(of key: String, in content: String) -> UInt64 {
        for line in content.split(separator: "\n") {
            let fields = line.split(separator: " ")
            if fields.count == 2, fields[0] == key { return UInt64(fields[1]) ?? 0 }
        }
        return 0
    }

    /// Whether a process, as the host counts, is in it or below.
    public func contains(_ pid: Int32) throws(KernelError) -> Bool {
        try CgroupFile.read("/proc/\(pid)/cgroup").split(separator: "\n").contains {
            $0.hasPrefix("0::") && ($0.hasSuffix("/\(relativePath)") || $0.contains("/\(relativePath)/"))
        }
    }

    /// Whether a process is in it that has not ended.
    public var isPopulated: Bool {
        guard let content = try? CgroupFile.read("\(path)/cgroup.events") else { return false }
        return Self.value(of: "populated", in: content) != 0
    }

    /// Kills every process in it, those that fork meanwhile too. Does not wait for them to be gone. Throws when descriptors or
    /// memory have run out: then nobody was killed.
    public func killAll() throws(KernelError) {
        do throws(KernelError) {
            try CgroupFile.write("1", to: "\(path)/cgroup.kill")
        } catch {
            // The directory has been removed: there is nobody.
            guard error.errno == ENOENT || error.errno == ENODEV else { throw error }
        }
    }

    /// Removes the directories, waiting up to five seconds for killed processes to leave. EBUSY: some are still there.
    public func remove() throws(KernelError) {
        try CgroupFile.removeTree(path)
        let directories = v1.withLock { $0 }
        for directory in Set(directories.values).sorted() { try CgroupFile.removeTree(directory) }
        v1.withLock { $0 = [:] }
    }
}
