internal import CLinux
internal import Glibc

/// Where this host's cgroups are: v2 alone, or v2 beside v1 controllers (hybrid).
public struct CgroupHierarchy: Sendable, Equatable {
    /// Mount point of cgroup v2.
    public let v2: String
    /// Mount points of the v1 controllers that can carry a sandbox's limits: `memory`, `cpu`, `pids`.
    public let v1: [String: String]

    static let limitControllers = ["memory", "cpu", "pids"]

    init(v2: String, v1: [String: String]) {
        self.v2 = v2
        self.v1 = v1
    }

    /// Reads the calling process's mounts.
    public static func detect() throws(KernelError) -> CgroupHierarchy {
        let mountinfo = try CgroupFile.read("/proc/self/mountinfo")
        guard let hierarchy = CgroupHierarchy(mountinfo: mountinfo) else {
            throw KernelError(
                call: "cgroup detection", subject: "/proc/self/mountinfo", errno: 0, detail: "cgroup v2 is not mounted")
        }
        return hierarchy
    }

    /// `nil` when no cgroup v2 is mounted. Lines have the form `36 31 0:33 / /mount/point options... - type source superoptions`.
    init?(mountinfo: String) {
        var v2: String?
        var v1: [String: String] = [:]
        for line in mountinfo.split(separator: "\n") {
            let fields = line.split(separator: " ")
            guard fields.count >= 10, let separator = fields.firstIndex(of: "-"), separator + 3 < fields.count else {
                continue
            }
            let mountPoint = Self.unescape(fields[4])
            switch fields[separator + 1] {
            case "cgroup2":
                // Other mounts of it may show a part only, or belong to somebody's container.
                if v2 == nil || mountPoint == "/sys/fs/cgroup" || mountPoint == "/sys/fs/cgroup/unified" {
                    v2 = mountPoint
                }
            case "cgroup":
                for option in fields[separator + 3].split(separator: ",") {
                    let controller = String(option)
                    if Self.limitControllers.contains(controller), v1[controller] == nil { v1[controller] = mountPoint }
                }
            default:
                break
            }
        }
        guard let v2 else { return nil }
        self.init(v2: v2, v1: v1)
    }

    /// The kernel writes space, tab, newline and backslash as `\` and three octal digits.
    private static func unescape(_ field: Substring) -> String {
        var bytes: [UInt8] = []
        var rest = Array(field.utf8)[...]
        while let byte = rest.popFirst() {
            if byte == UInt8(ascii: "\\"), rest.count >= 3,
                let code = UInt8(String(decoding: rest.prefix(3), as: UTF8.self), radix: 8)
            {
                bytes.append(code)
                rest = rest.dropFirst(3)
            } else {
                bytes.append(byte)
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Instances that have a cgroup.
    public func instances() throws(KernelError) -> [String] {
        try CgroupFile.directories(in: v2 + "/corral")
    }

    /// The sandboxes that have a cgroup, in v2 or in a v1 hierarchy.
    public func sandboxes(of instance: String) throws(KernelError) -> Set<String> {
        try Self.check(instance, named: "instance")
        var names: Set<String> = []
        for mount in [v2] + v1.values { names.formUnion(try CgroupFile.directories(in: "\(mount)/corral/\(instance)")) }
        return names
    }

    /// Kills everything in the sandboxes' cgroups that an earlier daemon of this instance left, and removes them, but for
    /// the sandboxes in `kept`.
    public func removeLeftovers(instance: String, except kept: Set<String> = []) throws(KernelError) {
        try Self.check(instance, named: "instance")
        let parent = "\(v2)/corral/\(instance)"
        let names = try CgroupFile.directories(in: parent).filter { !kept.contains($0) }
        for name in names { try CgroupFile.write("1", to: "\(parent)/\(name)/cgroup.kill") }
        for name in names { try CgroupFile.removeTree("\(parent)/\(name)") }
        // Their processes were those of the v2 cgroups, so these are empty by now.
        for mount in Set(v1.values).sorted() {
            let parent = "\(mount)/corral/\(instance)"
            for name in try CgroupFile.directories(in: parent) where !kept.contains(name) {
                try CgroupFile.removeTree("\(parent)/\(name)")
            }
        }
    }

    /// Removes the instance's own directories, once it has no sandbox any more.
    public func removeInstance(instance: String) throws(KernelError) {
        try Self.check(instance, named: "instance")
        for mount in [v2] + Set(v1.values).sorted() {
            try CgroupFile.remove("\(mount)/corral/\(instance)")
            // Another instance may be there.
            _ = rmdir("\(mount)/corral")
        }
    }

    /// One component of a path.
    static func check(_ name: String, named what: String) throws(KernelError) {
        guard name.isPathComponent(most: 128) else {
            throw KernelError(call: "cgroup name", subject: "\(what) '\(name)'", errno: EINVAL)
        }
    }
}
