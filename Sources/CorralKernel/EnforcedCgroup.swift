internal import CLinux
internal import CorralABI
internal import CorralPolicy
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

    /// The processes in it and below, as the host counts.
    public func processes() -> [Int32] {
        var found: [Int32] = []
        var directories = [path]
        while let directory = directories.popLast() {
            if let text = try? CgroupFile.read(directory + "/cgroup.procs") {
                found += text.split(separator: "\n").compactMap { Int32($0) }
            }
            directories += ((try? CgroupFile.directories(in: directory)) ?? []).map { "\(directory)/\($0)" }
        }
        return found
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
        crashPoint("enforce.known")
        try makeDirectory(pins)
        crashPoint("enforce.directory")
        try pinFlows(of: identity, in: pins)
        crashPoint("enforce.flows")
        takeOverFlows(of: identity, pins: pins)
        let directory = try FileDescriptor.open(cgroup.path, O_RDONLY | O_DIRECTORY)
        for hook in BpfPrograms.cgroupHooks {
            try link(try programs.cgroupProgram(hook.name), hook, to: directory, named: cgroup.path, pins: pins)
        }
        for hook in BpfPrograms.foreignCgroupHooks {
            try link(try programs.foreignCgroupProgram(hook.name), hook, to: directory, named: cgroup.path, pins: pins)
        }
        // What was accepted meanwhile.
        takeOverFlows(of: identity, pins: pins)
        crashPoint("enforce.attached")
    }

    /// The connections that a cgroup has accepted have to be known to the next daemon, and under what numbers they stand.
    private func pinFlows(of identity: SandboxIdentity, in directory: String) throws(KernelError) {
        let path = "\(directory)/flows-\(identity.slot)-\(UInt32(truncatingIfNeeded: identity.epoch))"
        let map = try programs.map("flows")
        guard bpf_obj_pin(map, path) == 0 else { throw KernelError(call: "BPF_OBJ_PIN", subject: path, errno: errno) }
    }

    /// Connections that the cgroup accepted under an earlier daemon stay its peers'. Without them it would be refused to answer.
    private func takeOverFlows(of identity: SandboxIdentity, pins: String) {
        guard let name = pins.split(separator: "/").last.map(String.init), let flows = try? programs.map("flows") else {
            return
        }
        for directory in PinDirectory.earlierPins(of: name, beside: pins) {
            for file in PinDirectory.entries(of: directory) where file.hasPrefix("flows-") {
                let numbers = file.split(separator: "-").dropFirst().compactMap { UInt32($0) }
                let raw = bpf_obj_get("\(directory)/\(file)")
                guard raw >= 0 else { continue }
                let earlier = FileDescriptor(owning: raw)
                if numbers.count == 2 {
                    Self.copyFlows(from: earlier.raw, slot: numbers[0], epoch: numbers[1], to: flows, identity)
                }
            }
        }
    }

    /// Of struct corral_flow_key the first eight bytes are slot and epoch, of struct corral_flow the last four the rule.
    private static func copyFlows(
        from earlier: Int32, slot: UInt32, epoch: UInt32, to flows: Int32, _ identity: SandboxIdentity
    ) {
        var walk = MapWalk(
            earlier, keySize: MemoryLayout<corral_flow_key>.size, limit: 2 * Int(CORRAL_MAX_FLOWS))
        // That daemon's may have been smaller, or larger.
        guard let before = try? MapLayout(found: earlier), let after = try? MapLayout(found: flows) else { return }
        var value = [UInt8](repeating: 0, count: before.valueSize)
        let size = MemoryLayout<corral_flow>.size
        guard before.keySize == MemoryLayout<corral_flow_key>.size, before.valueSize >= size else { return }
        var owner: [UInt8] = []
        var accepted: [UInt8] = []
        owner.appendWord(slot)
        owner.appendWord(epoch)
        accepted.appendWord(CORRAL_RULE_PUBLISHED)
        while walk.advance() {
            guard walk.key.starts(with: owner), walk.read(into: &value),
                value[(size - 4)..<size].elementsEqual(accepted)
            else { continue }
            let copy = identity.keyPrefix + walk.key.dropFirst(8)
            let grown = Array((value + [UInt8](repeating: 0, count: after.valueSize)).prefix(after.valueSize))
            _ = copy.withUnsafeBytes { key in
                grown.withUnsafeBytes { bpf_map_update_elem(flows, key.baseAddress, $0.baseAddress, 0) }
            }
        }
    }

    /// Takes the hooks of a cgroup off and forgets it.
    public func release(_ cgroup: ForeignCgroup, _ identity: SandboxIdentity, pins: String) {
        Self.removePins(in: pins)
        crashPoint("release.pins")
        forget(identity, cgroupID: cgroup.id)
        removePolicies(of: [identity.slot])
        crashPoint("release.forgotten")
    }
}
