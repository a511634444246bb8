internal import CLinux
internal import CorralABI
internal import Glibc

/// The programs and maps of one instance, loaded into the kernel and pinned under its directory of the BPF file system.
public final class BpfPrograms: Sendable {
    /// `/sys/fs/bpf/corral/<instance>`.
    public let directory: String
    private let objects: Objects

    /// Program names as the objects have them, with the cgroup hook each belongs on.
    static let cgroupHooks: [(name: String, type: UInt32)] = [
        ("sock_create", BPF_CGROUP_INET_SOCK_CREATE.rawValue),
        ("connect4", BPF_CGROUP_INET4_CONNECT.rawValue),
        ("connect6", BPF_CGROUP_INET6_CONNECT.rawValue),
        ("sendmsg4", BPF_CGROUP_UDP4_SENDMSG.rawValue),
        ("sendmsg6", BPF_CGROUP_UDP6_SENDMSG.rawValue),
    ]

    /// Loads everything and pins it. `directory` must not hold pins of another load.
    public init(directory: String) throws(KernelError) {
        self.directory = directory
        try makeDirectory(directory)
        try makeDirectory(directory + "/maps")
        try makeDirectory(directory + "/programs")
        var count = 0
        let egressBytes = corral_embedded_egress(&count)
        let egress = try BpfObject(name: "egress", bytes: egressBytes, count: count)
        try egress.load()
        let vethBytes = corral_embedded_veth(&count)
        let veth = try BpfObject(name: "veth", bytes: vethBytes, count: count)
        for name in Self.mapNames {
            try veth.reuse(map: name, from: egress)
        }
        try veth.load()
        objects = Objects(egress: egress, veth: veth)
        for name in Self.mapNames {
            try egress.pin(map: name, at: "\(directory)/maps/\(name)")
        }
        for hook in Self.cgroupHooks {
            try egress.pin(program: hook.name, at: "\(directory)/programs/\(hook.name)")
        }
        for name in ["from_sandbox", "to_sandbox"] {
            try veth.pin(program: name, at: "\(directory)/programs/\(name)")
        }
    }

    static let mapNames = [
        "policies", "sandboxes", "counters", "budgets", "buckets", "pins", "published", "resolver", "slot_by_cgroup",
        "slot_by_ifindex", "flows", "announced", "verdicts", "decisions",
    ]

    /// Valid while this object lives.
    func map(_ name: String) throws(KernelError) -> Int32 {
        try objects.egress.map(name)
    }

    func cgroupProgram(_ name: String) throws(KernelError) -> Int32 {
        try objects.egress.program(name)
    }

    func vethProgram(_ name: String) throws(KernelError) -> Int32 {
        try objects.veth.program(name)
    }

    private struct Objects: Sendable {
        let egress: BpfObject
        let veth: BpfObject
    }
}

/// One loaded BPF object of libbpf.
///
/// Safety: libbpf changes a `bpf_object` only in `load`, `reuse` and `pin`, which run before it is shared; the look-ups
/// after that read it.
final class BpfObject: @unchecked Sendable {
    private let pointer: OpaquePointer
    private let name: String

    init(name: String, bytes: UnsafeRawPointer?, count: Int) throws(KernelError) {
        corral_bpf_log_begin()
        guard let pointer = corral_bpf_open(name, bytes, count) else {
            throw KernelError(call: "bpf_object__open", subject: name, errno: errno, detail: bpfLog())
        }
        self.pointer = pointer
        self.name = name
    }

    deinit {
        bpf_object__close(pointer)
    }

    func load() throws(KernelError) {
        corral_bpf_log_begin()
        let result = bpf_object__load(pointer)
        guard result == 0 else {
            throw KernelError(call: "bpf_object__load", subject: name, errno: -result, detail: bpfLog())
        }
    }

    func map(_ map: String) throws(KernelError) -> Int32 {
        bpf_map__fd(try find(map))
    }

    private func find(_ map: String) throws(KernelError) -> OpaquePointer {
        guard let found = bpf_object__find_map_by_name(pointer, map) else {
            throw KernelError(call: "bpf_object__find_map_by_name", subject: "\(name)/\(map)", errno: ENOENT)
        }
        return found
    }

    private func findProgram(_ program: String) throws(KernelError) -> OpaquePointer {
        guard let found = bpf_object__find_program_by_name(pointer, program) else {
            throw KernelError(call: "bpf_object__find_program_by_name", subject: "\(name)/\(program)", errno: ENOENT)
        }
        return found
    }

    func program(_ program: String) throws(KernelError) -> Int32 {
        bpf_program__fd(try findProgram(program))
    }

    func reuse(map: String, from other: BpfObject) throws(KernelError) {
        let result = bpf_map__reuse_fd(try find(map), try other.map(map))
        guard result == 0 else {
            throw KernelError(call: "bpf_map__reuse_fd", subject: "\(name)/\(map)", errno: -result)
        }
    }

    func pin(map: String, at path: String) throws(KernelError) {
        let result = bpf_map__pin(try find(map), path)
        guard result == 0 else { throw KernelError(call: "bpf_map__pin", subject: path, errno: -result) }
    }

    func pin(program: String, at path: String) throws(KernelError) {
        let result = bpf_program__pin(try findProgram(program), path)
        guard result == 0 else { throw KernelError(call: "bpf_program__pin", subject: path, errno: -result) }
    }
}

/// What libbpf has said on this thread since the last `corral_bpf_log_begin`; nil when nothing.
func bpfLog() -> String? {
    let text = String(cString: corral_bpf_log_end())
    return text.isEmpty ? nil : text
}

/// An existing directory is fine.
func makeDirectory(_ path: String, mode: mode_t = 0o700) throws(KernelError) {
    do {
        try systemCall("mkdir", on: path) { mkdir(path, mode) }
    } catch let error where error.errno == EEXIST {}
}
