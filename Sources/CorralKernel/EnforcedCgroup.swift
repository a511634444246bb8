internal import CLinux
internal import CorralABI
public import CorralPolicy
internal import Glibc

/// A cgroup that Corral did not make and puts a policy on. It never changes or removes the cgroup itself.
public struct ForeignCgroup: Sendable, Hashable {
    /// Its v2 directory.
    public let path: String
    /// The number that BPF knows it by; another cgroup of the same path has another.
    public let id: UInt64

    /// `path`: absolute, or below the mount of cgroup v2 as `/proc/<pid>/cgroup` writes it. Throws ENOENT, and EINVAL for
    /// what is no cgroup v2 directory or is the root of all.
    public init(path: String, hierarchy: CgroupHierarchy) throws(KernelError) {
        let relative = path.split(separator: "/").joined(separator: "/")
        guard !relative.isEmpty, !path.utf8.contains(0), !path.split(separator: "/").contains("..") else {
            throw KernelError(
                call: "cgroup", subject: path, errno: EINVAL, detail: "not the path of a cgroup below the root")
        }
        let full = path.hasPrefix(hierarchy.v2 + "/") ? "/" + relative : "\(hierarchy.v2)/\(relative)"
        let directory = try FileDescriptor.open(full, O_RDONLY | O_DIRECTORY)
        guard corral_file_system_type(full) == UInt64(CGROUP2_SUPER_MAGIC) else {
            throw KernelError(
                call: "cgroup", subject: full, errno: EINVAL,
                detail: "not in cgroup v2, which is at \(hierarchy.v2); BPF programs attach there alone")
        }
        let raw = directory.raw
        var number: UInt64 = 0
        try systemCall("name_to_handle_at", on: full) { corral_cgroup_id(raw, &number) }
        self.path = full
        id = number
    }

    /// The cgroup that a process is in.
    public init(pid: Int32, hierarchy: CgroupHierarchy) throws(KernelError) {
        let lines = try CgroupFile.read("/proc/\(pid)/cgroup").split(separator: "\n")
        guard let line = lines.first(where: { $0.hasPrefix("0::/") }) else {
            throw KernelError(call: "cgroup", subject: "pid \(pid)", errno: ENOENT, detail: "it is in no cgroup v2")
        }
        try self.init(path: String(line.dropFirst(3)), hierarchy: hierarchy)
    }

    /// Whether the directory still is this cgroup.
    public var exists: Bool {
        guard let directory = try? FileDescriptor.open(path, O_RDONLY | O_DIRECTORY) else { return false }
        let raw = directory.raw
        var number: UInt64 = 0
        return corral_cgroup_id(raw, &number) == 0 && number == id
    }
}

extension SandboxHooks {
    /// Puts `policy` on a cgroup and everything below it. Processes that run already are under it from the first hook on;
    /// `pins` is a directory of its own that keeps the hooks when this process ends.
    public func enforce(
        _ policy: PolicyMap, on cgroup: ForeignCgroup, as identity: SandboxIdentity, pins: String
    ) throws(KernelError) {
        try prepare(identity, policy: policy)
        // Before the hooks: they refuse what they do not know, and these processes are at work.
        try learn(cgroupID: cgroup.id, slot: identity.slot)
        try makeDirectory(pins)
        let directory = try FileDescriptor.open(cgroup.path, O_RDONLY | O_DIRECTORY)
        for hook in BpfPrograms.cgroupHooks {
            try link(try programs.cgroupProgram(hook.name), hook, to: directory, named: cgroup.path, pins: pins)
        }
        for hook in BpfPrograms.cgroupPacketHooks {
            try link(try programs.cgroupPacketProgram(hook.name), hook, to: directory, named: cgroup.path, pins: pins)
        }
    }

    /// Takes the hooks of a cgroup off and forgets it.
    public func release(_ cgroup: ForeignCgroup, _ identity: SandboxIdentity, pins: String) {
        Self.removePins(in: pins)
        forget(identity, cgroupID: cgroup.id)
    }
}
