internal import CLinux
internal import Glibc
internal import Synchronization

/// One sandbox's cgroup: `corral/<instance>/<id>` in v2, and in those v1 hierarchies whose controller limits it.
public final class SandboxCgroup: Sendable {
    /// The number that BPF knows it by.
    public let id: UInt64
    /// The v2 directory.
    public let path: String

    private let hierarchy: CgroupHierarchy
    /// Below every hierarchy's mount.
    private let relativePath: String
    private let instancePath: String
    /// Directories in v1 hierarchies by their controller.
    private let v1 = Mutex<[String: String]>([:])

    private init(id: UInt64, path: String, hierarchy: CgroupHierarchy, instancePath: String, relativePath: String) {
        self.id = id
        self.path = path
        self.hierarchy = hierarchy
        self.instancePath = instancePath
        self.relativePath = relativePath
    }

    /// Makes the v2 directory; EEXIST when there is one of this name.
    /// - Parameters:
    ///   - instance, id: letters, digits, `-`, `_` and `.`.
    public static func create(
        hierarchy: CgroupHierarchy, instance: String, id: String
    ) throws(KernelError) -> SandboxCgroup {
        try CgroupHierarchy.check(instance, named: "instance")
        try CgroupHierarchy.check(id, named: "sandbox")
        let instancePath = "corral/\(instance)"
        let relativePath = "\(instancePath)/\(id)"
        let path = "\(hierarchy.v2)/\(relativePath)"
        try CgroupFile.makeDirectory("\(hierarchy.v2)/corral")
        try CgroupFile.makeDirectory("\(hierarchy.v2)/\(instancePath)")
        try systemCall("mkdir", on: path) { mkdir(path, 0o755) }
        do throws(KernelError) {
            let directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
            let raw = directory.raw
            var number: UInt64 = 0
            try systemCall("name_to_handle_at", on: path) { corral_cgroup_id(raw, &number) }
            return SandboxCgroup(
                id: number, path: path, hierarchy: hierarchy, instancePath: instancePath, relativePath: relativePath)
        } catch {
            _ = rmdir(path)
            throw error
        }
    }

    /// One that `create` made, in this process or an earlier one. Throws ENOENT.
    public static func open(
        hierarchy: CgroupHierarchy, instance: String, id: String
    ) throws(KernelError) -> SandboxCgroup {
        try CgroupHierarchy.check(instance, named: "instance")
        try CgroupHierarchy.check(id, named: "sandbox")
        let instancePath = "corral/\(instance)"
        let relativePath = "\(instancePath)/\(id)"
        let path = "\(hierarchy.v2)/\(relativePath)"
        let directory = try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
        let raw = directory.raw
        var number: UInt64 = 0
        try systemCall("name_to_handle_at", on: path) { corral_cgroup_id(raw, &number) }
        let cgroup = SandboxCgroup(
            id: number, path: path, hierarchy: hierarchy, instancePath: instancePath, relativePath: relativePath)
        for (controller, mount) in hierarchy.v1 {
            let directory = "\(mount)/\(relativePath)"
            if CgroupFile.exists(directory) { cgroup.v1.withLock { $0[controller] = directory } }
        }
        return cgroup
    }

    /// A new descriptor of the v2 directory, for `Spawner.spawn` and for BPF links.
    public func directory() throws(KernelError) -> FileDescriptor {
        try FileDescriptor.open(path, O_RDONLY | O_DIRECTORY)
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
                detail: "the host has no \(controller) controller, neither in cgroup v2 nor in v1")
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

    /// How many of its processes the kernel killed for lack of memory; 0 without a memory limit.
    public func oomKills() -> UInt64 {
        let v1 = v1.withLock { $0["memory"] }
        let file = v1.map { "\($0)/memory.oom_control" } ?? "\(path)/memory.events"
        // Without a memory controller there is no such file, and no such kill.
        guard let content = try? CgroupFile.read(file) else { return 0 }
        return Self.value(of: "oom_kill", in: content)
    }

    static func value(of key: String, in content: String) -> UInt64 {
        for line in content.split(separator: "\n") {
            let fields = line.split(separator: " ")
            if fields.count == 2, fields[0] == key { return UInt64(fields[1]) ?? 0 }
        }
        return 0
    }

    /// Whether a process is in it that has not ended.
    public var isPopulated: Bool {
        guard let content = try? CgroupFile.read("\(path)/cgroup.events") else { return false }
        return Self.value(of: "populated", in: content) != 0
    }

    /// Kills every process in it, those that fork meanwhile too. Does not wait for them to be gone.
    public func killAll() {
        // Fails only when the directory has been removed: then there is nobody.
        try? CgroupFile.write("1", to: "\(path)/cgroup.kill")
    }

    /// Removes the directories, waiting up to five seconds for killed processes to leave. EBUSY: some are still there.
    public func remove() throws(KernelError) {
        try CgroupFile.removeTree(path)
        let directories = v1.withLock { $0 }
        for directory in Set(directories.values).sorted() { try CgroupFile.removeTree(directory) }
        v1.withLock { $0 = [:] }
    }
}
