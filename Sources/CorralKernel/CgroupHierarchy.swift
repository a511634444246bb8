internal import Glibc

/// Where this host keeps its cgroups: v2 alone, or v2 beside v1 controllers.
public struct CgroupHierarchy: Sendable, Equatable {
    /// Mount point of cgroup v2.
    public let unified: String
    /// Mount points of v1 controllers, by controller; empty on a pure v2 host.
    public let legacy: [String: String]

    public var isPure: Bool { legacy.isEmpty }

    static let controllers = ["cpu", "memory", "pids"]

    /// Reads /proc/self/mountinfo.
    public static func detect() throws(KernelError) -> CgroupHierarchy {
        try parse(mountinfo: String(decoding: readFile("/proc/self/mountinfo"), as: UTF8.self))
    }

    /// `mountinfo`: see proc(5). The first mount of each kind counts.
    static func parse(mountinfo: String) throws(KernelError) -> CgroupHierarchy {
        var unified: String?
        var legacy: [String: String] = [:]
        for line in mountinfo.split(separator: "\n") {
            let halves = line.split(separator: " - ", maxSplits: 1)
            guard halves.count == 2 else { continue }
            let left = halves[0].split(separator: " ")
            let right = halves[1].split(separator: " ")
            // A mount of part of a hierarchy is not where new cgroups can be made for everybody.
            guard left.count >= 5, right.count >= 3, left[3] == "/" else { continue }
            let path = String(left[4])
            if right[0] == "cgroup2" {
                unified = unified ?? path
            } else if right[0] == "cgroup" {
                for option in right[2].split(separator: ",") where controllers.contains(String(option)) {
                    legacy[String(option)] = legacy[String(option)] ?? path
                }
            }
        }
        guard let unified else {
            throw KernelError(call: "mountinfo", subject: "cgroup2", errno: ENOENT, detail: "cgroup v2 is not mounted")
        }
        return CgroupHierarchy(unified: unified, legacy: legacy)
    }

    /// `corral/<instance>` below each mount that may hold something of ours.
    func roots(instance: String) -> [String] {
        ([unified] + Set(legacy.values)).map { "\($0)/corral/\(instance)" }
    }

    /// Ends every process of the instance's cgroups and removes them.
    public func removeLeftovers(instance: String) throws(KernelError) {
        for root in roots(instance: instance) {
            for name in subdirectories(of: root) {
                killCgroup("\(root)/\(name)")
                try removeCgroup("\(root)/\(name)")
            }
        }
    }

    /// The instance's own directories, once they are empty.
    public func removeInstance(instance: String) throws(KernelError) {
        for root in roots(instance: instance) {
            try removeCgroup(root)
            // Other instances may live in it.
            _ = rmdir(String(root.dropLast(instance.utf8.count + 1)))
        }
    }
}

/// Limits of one sandbox; nil leaves a resource alone.
public struct CgroupLimits: Sendable, Equatable {
    /// CPUs' worth of time.
    public var cpu: Double?
    public var memoryBytes: UInt64?
    public var pids: UInt32?

    public init(cpu: Double? = nil, memoryBytes: UInt64? = nil, pids: UInt32? = nil) {
        self.cpu = cpu
        self.memoryBytes = memoryBytes
        self.pids = pids
    }
}

func readFile(_ path: String) throws(KernelError) -> [UInt8] {
    let file = try FileDescriptor.open(path, O_RDONLY)
    var all: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 16_384)
    while true {
        let raw = file.raw
        let count = try systemCall("read", on: path) {
            buffer.withUnsafeMutableBytes { read(raw, $0.baseAddress, $0.count) }
        }
        if count == 0 { return all }
        all.append(contentsOf: buffer.prefix(count))
    }
}

func writeFile(_ path: String, _ text: String) throws(KernelError) {
    let file = try FileDescriptor.open(path, O_WRONLY)
    let raw = file.raw
    let bytes = Array(text.utf8)
    try systemCall("write \(text)", on: path) { bytes.withUnsafeBytes { write(raw, $0.baseAddress, $0.count) } }
}

func subdirectories(of path: String) -> [String] {
    guard let stream = opendir(path) else { return [] }
    defer { closedir(stream) }
    var names: [String] = []
    while let entry = readdir(stream) {
        guard entry.pointee.d_type == UInt8(DT_DIR) else { continue }
        let name = withUnsafePointer(to: &entry.pointee.d_name) {
            $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        }
        if name != "." && name != ".." { names.append(name) }
    }
    return names
}

func processes(of cgroup: String) -> [Int32] {
    guard let bytes = try? readFile(cgroup + "/cgroup.procs") else { return [] }
    return String(decoding: bytes, as: UTF8.self).split(separator: "\n").compactMap { Int32($0) }
}

/// By cgroup.kill (5.14) where it is there; else each process, until a look finds none or a second has passed.
func killCgroup(_ path: String) {
    if (try? writeFile(path + "/cgroup.kill", "1")) != nil { return }
    for _ in 0..<100 {
        let alive = processes(of: path)
        if alive.isEmpty { return }
        for process in alive where process > 1 { _ = kill(process, SIGKILL) }
        usleep(10_000)
    }
}

/// Waits up to two seconds for the last process to be gone. One that does not exist is fine.
func removeCgroup(_ path: String) throws(KernelError) {
    for attempt in 0... {
        if rmdir(path) == 0 || errno == ENOENT { return }
        guard errno == EBUSY, attempt < 400 else { throw KernelError(call: "rmdir", subject: path, errno: errno) }
        usleep(5_000)
    }
}
