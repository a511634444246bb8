internal import Glibc

/// Where an instance's programs, maps and links are pinned.
public enum PinDirectory {
    public static let root = "/sys/fs/bpf/corral"
    /// Of an instance's directory: the links of the LSM hooks.
    static let lsm = "lsm"
    /// Those of the hooks that judge paths.
    static let files = "files"

    /// Creates the parents and names the instance's directory.
    public static func make(_ instance: String) throws(KernelError) -> String {
        try makeDirectory(root)
        return "\(root)/\(instance)"
    }

    /// Everything an instance has pinned, and its directory. Nothing is fine.
    public static func remove(_ instance: String) throws(KernelError) {
        let directory = "\(root)/\(instance)"
        for sandbox in entries(of: directory + "/sandboxes") {
            SandboxHooks.removePins(in: "\(directory)/sandboxes/\(sandbox)")
        }
        for name in entries(of: directory + "/maps") { _ = unlink("\(directory)/maps/\(name)") }
        for part in ["programs", lsm, files] {
            for name in entries(of: "\(directory)/\(part)") { _ = unlink("\(directory)/\(part)/\(name)") }
        }
        for name in ["sandboxes", "maps", "programs", lsm, files] { _ = rmdir("\(directory)/\(name)") }
        guard rmdir(directory) == 0 || errno == ENOENT else {
            throw KernelError(call: "rmdir", subject: directory, errno: errno)
        }
        // Other instances may live in it.
        _ = rmdir(root)
    }

    /// The sandboxes of an instance whose hooks are pinned.
    public static func sandboxes(of instance: String) -> [String] { entries(of: "\(root)/\(instance)/sandboxes") }

    /// Takes the hooks of one sandbox off.
    public static func remove(sandbox: String, of instance: String) {
        SandboxHooks.removePins(in: "\(root)/\(instance)/sandboxes/\(sandbox)")
    }

    /// Whether an earlier daemon has left maps.
    public static func hasMaps(_ instance: String) -> Bool { !entries(of: "\(root)/\(instance)/maps").isEmpty }

    /// Hooks of enforced cgroups, apart from the rest: they stay when a daemon ends, until the next has put its own on.
    public static func enforced(_ instance: String) -> String { "\(root)/\(instance)+enforced" }

    /// Makes a directory below `enforced` that no earlier daemon has used.
    public static func makeEnforced(_ instance: String) throws(KernelError) -> String {
        try makeDirectory(root)
        let parent = enforced(instance)
        try makeDirectory(parent)
        let last = entries(of: parent).compactMap { UInt64($0) }.max() ?? 0
        let path = "\(parent)/\(last + 1)"
        try makeDirectory(path)
        return path
    }

    /// Takes off the hooks that earlier daemons put on enforced cgroups; those below `current` stay.
    public static func removeEnforced(_ instance: String, except current: String?) {
        let parent = enforced(instance)
        for name in entries(of: parent) where "\(parent)/\(name)" != current {
            for cgroup in entries(of: "\(parent)/\(name)") {
                SandboxHooks.removePins(in: "\(parent)/\(name)/\(cgroup)")
            }
            _ = rmdir("\(parent)/\(name)")
            crashPoint("enforce.earlier-pins")
        }
        _ = rmdir(parent)
        _ = rmdir(root)
    }

    /// Removes the directories that hold no hook.
    public static func removeEmptyEnforced(_ instance: String) {
        let parent = enforced(instance)
        for name in entries(of: parent) { _ = rmdir("\(parent)/\(name)") }
        _ = rmdir(parent)
        _ = rmdir(root)
    }

    /// Where earlier daemons have pinned what belongs to one enforced cgroup.
    static func earlierPins(of name: String, beside current: String) -> [String] {
        let generation = current.split(separator: "/").dropLast()
        let parent = "/" + generation.dropLast().joined(separator: "/")
        return entries(of: parent).filter { $0 != generation.last.map(String.init) }.map { "\(parent)/\($0)/\(name)" }
    }

    static func entries(of directory: String) -> [String] {
        guard let stream = opendir(directory) else { return [] }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) {
                $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != "." && name != ".." { names.append(name) }
        }
        return names
    }
}
