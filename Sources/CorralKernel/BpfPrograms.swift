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
        let objects = Objects(
            egress: try BpfObject(name: "egress", corral_embedded_egress),
            veth: try BpfObject(name: "veth", corral_embedded_veth),
            cgroup: try BpfObject(name: "cgroup", corral_embedded_cgroup)
        )
        try objects.egress.load()
        for other in [objects.veth, objects.cgroup] {
            for name in Self.mapNames { try other.reuse(map: name, from: objects.egress) }
            try other.load()
        }
        self.objects = objects
        for name in Self.mapNames { try objects.egress.pin(map: name, at: "\(directory)/maps/\(name)") }
        for hook in Self.cgroupHooks {
            try objects.egress.pin(program: hook.name, at: "\(directory)/programs/\(hook.name)")
        }
        for name in ["from_sandbox", "to_sandbox"] {
            try objects.veth.pin(program: name, at: "\(directory)/programs/\(name)")
        }
        for hook in Self.foreignCgroupHooks {
            try objects.cgroup.pin(program: hook.name, at: "\(directory)/programs/\(hook.name)")
        }
    }

    /// What a cgroup that Corral did not make has beside the hooks of a sandbox's.
    static let foreignCgroupHooks: [(name: String, type: UInt32)] = [
        ("from_cgroup", BPF_CGROUP_INET_EGRESS.rawValue),
        ("to_cgroup", BPF_CGROUP_INET_INGRESS.rawValue),
        ("recvmsg4", BPF_CGROUP_UDP4_RECVMSG.rawValue),
        ("recvmsg6", BPF_CGROUP_UDP6_RECVMSG.rawValue),
        ("getpeername4", BPF_CGROUP_INET4_GETPEERNAME.rawValue),
        ("getpeername6", BPF_CGROUP_INET6_GETPEERNAME.rawValue),
    ]

    static let mapNames = [
        "policies", "sandboxes", "counters", "budgets", "buckets", "pins", "published", "resolver",
        "cgroup_resolver", "resolver_ports", "asked", "slot_by_cgroup", "slot_by_ifindex", "flows", "announced",
        "verdicts", "decisions",
    ]

    /// The programs of the trace, loaded beside the others with their maps. Nothing of them is pinned: the trace ends with
    /// the daemon.
    func loadTrace() throws(KernelError) -> BpfObject {
        let trace = try BpfObject(name: "trace", corral_embedded_trace)
        for name in Self.mapNames { try trace.reuse(map: name, from: objects.egress) }
        try trace.load()
        return trace
    }

    /// Valid while this object lives.
    func map(_ name: String) throws(KernelError) -> Int32 {
        try objects.egress.map(name)
    }

    func cgroupProgram(_ name: String) throws(KernelError) -> Int32 {
        try objects.egress.program(name)
    }

    func foreignCgroupProgram(_ name: String) throws(KernelError) -> Int32 {
        try objects.cgroup.program(name)
    }

    func vethProgram(_ name: String) throws(KernelError) -> Int32 {
        try objects.veth.program(name)
    }

    private struct Objects: Sendable {
        let egress: BpfObject
        let veth: BpfObject
        let cgroup: BpfObject
    }
}

/// One loaded BPF object of libbpf.
///
/// Safety: libbpf changes a `bpf_object` only in `load`, `reuse` and `pin`, which run before it is shared; the look-ups
/// after that read it.
final class BpfObject: @unchecked Sendable {
    private let pointer: OpaquePointer
    private let name: String

    /// `embedded` names the object's bytes, which are built into this program.
    init(name: String, _ embedded: (UnsafeMutablePointer<Int>) -> UnsafeRawPointer?) throws(KernelError) {
        var count = 0
        let bytes = embedded(&count)
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
