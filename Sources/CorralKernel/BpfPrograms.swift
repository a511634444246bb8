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

    /// Whether the maps are those of an earlier load, with what they hold.
    public let isAdopted: Bool
    /// Maps of an earlier load that this one's are larger than.
    private let migrations: [MapMigration]
    private let source: Source

    /// Where the objects come from.
    public enum Source: Sendable {
        /// Built into this program.
        case embedded
        /// `NAME.bpf.o` in a directory; for tests.
        case directory(String)
    }

    /// Loads everything and pins it. Maps that an earlier load has pinned in `directory` are taken over; the programs are new,
    /// and hooks that run earlier ones go on until `SandboxHooks.renew`. What a map holds that is laid out in another way now is
    /// copied, where that is possible, and goes on to be in use until `finishTakingOver`.
    ///
    /// Throws EEXIST, with what differs, when those maps are a later version's, cannot be carried over or are not all of them: then
    /// nothing has changed.
    public init(directory: String, source: Source = .embedded) throws(KernelError) {
        self.directory = directory
        self.source = source
        try makeDirectory(directory)
        try makeDirectory(directory + "/maps")
        try makeDirectory(directory + "/programs")
        let objects = Objects(
            egress: try source.open("egress"), veth: try source.open("veth"), cgroup: try source.open("cgroup"))
        isAdopted = !PinDirectory.entries(of: directory + "/maps").isEmpty
        migrations = isAdopted ? try Self.adopt(mapsIn: directory + "/maps", for: objects.egress) : []
        try objects.egress.load()
        for other in [objects.veth, objects.cgroup] {
            for name in Self.sharedMaps { try other.reuse(map: name, from: objects.egress) }
            try other.load()
        }
        self.objects = objects
        crashPoint("programs.loaded")
        for migration in migrations { try migration.carry(to: objects.egress.map(migration.name)) }
        crashPoint("maps.carried")
        if !isAdopted {
            try Self.put(objects.egress.version, into: objects.egress.map("abi"))
            crashPoint("maps.version-new")
            for name in Self.mapNames {
                try objects.egress.pin(map: name, at: "\(directory)/maps/\(name)")
                crashPoint("maps.pin")
            }
        }
        for hook in Self.cgroupHooks {
            try objects.egress.pin(program: hook.name, at: "\(directory)/programs/\(hook.name)")
            crashPoint("programs.pin")
        }
        for name in ["from_sandbox", "to_sandbox"] {
            try objects.veth.pin(program: name, at: "\(directory)/programs/\(name)")
        }
        for hook in Self.foreignCgroupHooks {
            try objects.cgroup.pin(program: hook.name, at: "\(directory)/programs/\(hook.name)")
        }
    }

    /// Once every hook runs the programs of this load: its maps take the place of those that they grew out of. A daemon that is
    /// killed before leaves the earlier maps in their place, or some of each kind, and the next one copies again.
    public func finishTakingOver() throws(KernelError) {
        guard isAdopted else { return }
        // First, so that no earlier version takes a part of each for its own.
        try Self.put(objects.egress.version, into: objects.egress.map("abi"))
        crashPoint("maps.version-raised")
        for migration in migrations {
            try migration.catchUp(to: objects.egress.map(migration.name))
            crashPoint("maps.caught-up")
            try objects.egress.pin(map: migration.name, over: "\(directory)/maps/\(migration.name)")
            crashPoint("maps.renamed")
        }
        // Those that the earlier version did not have.
        for name in Self.mapNames where access("\(directory)/maps/\(name)", F_OK) != 0 {
            try objects.egress.pin(map: name, at: "\(directory)/maps/\(name)")
        }
    }

    /// The ring of an earlier load that was not taken over; nobody has read what it holds.
    var earlierDecisions: SharedDescriptor? { migrations.first { $0.name == "decisions" }?.found }

    /// Maps that have to be copied.
    private static func adopt(mapsIn directory: String, for object: BpfObject) throws(KernelError) -> [MapMigration] {
        var migrations: [MapMigration] = []
        var version: UInt32 = 0
        for name in mapNames {
            let path = "\(directory)/\(name)"
            let raw = bpf_obj_get(path)
            if raw < 0, errno == ENOENT, name != "abi", version < object.version { continue }
            guard raw >= 0 else {
                throw KernelError(
                    call: "bpf_obj_get", subject: path, errno: EEXIST,
                    detail: "other maps of this instance are there, this one is not")
            }
            let found = FileDescriptor(owning: raw)
            if name == "abi" {
                var key: UInt32 = 0
                guard bpf_map_lookup_elem(found.raw, &key, &version) == 0, version > 0, version <= object.version
                else {
                    throw KernelError(
                        call: "adopt", subject: path, errno: EEXIST,
                        detail: "the maps are of version \(version); this corrald has \(object.version)")
                }
            }
            let (layout, wanted) = (try MapLayout(found: found.raw), try object.layout(of: name))
            if layout == wanted {
                try object.adopt(map: name, found.raw, path)
            } else if let reason = wanted.refusal(of: layout, named: name) {
                throw KernelError(call: "adopt", subject: path, errno: EEXIST, detail: reason)
            } else {
                migrations.append(MapMigration(name: name, found: SharedDescriptor(found), layout: layout))
            }
        }
        return migrations
    }

    private static func put(_ version: UInt32, into map: Int32) throws(KernelError) {
        var (key, value): (UInt32, UInt32) = (0, version)
        guard bpf_map_update_elem(map, &key, &value, 0) == 0 else {
            throw KernelError(call: "bpf_map_update_elem", subject: "abi", errno: errno)
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

    /// Those that are pinned, for the next daemon.
    static let mapNames = [
        "abi", "policies", "path_rules", "sandboxes", "counters", "budgets", "buckets", "pins", "published",
        "resolver", "cgroup_resolver", "resolver_ports", "asked", "slot_by_cgroup", "slot_by_ifindex", "flows",
        "announced",
        "verdicts", "decisions",
    ]

    private static let sharedMaps = mapNames + ["failures"]

    /// The programs of the trace, loaded beside the others with their maps. Nothing of them is pinned: the trace ends with
    /// the daemon.
    func loadTrace() throws(KernelError) -> BpfObject {
        let trace = try source.open("trace")
        try share(with: trace)
        try trace.load()
        return trace
    }

    /// Gives an object that is not loaded yet the maps of these.
    func share(with object: BpfObject) throws(KernelError) {
        for name in Self.sharedMaps { try object.reuse(map: name, from: objects.egress) }
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

    /// What is loaded from the start; the trace is not.
    var loaded: [BpfObject] { [objects.egress, objects.veth, objects.cgroup] }

    private struct Objects: Sendable {
        let egress: BpfObject
        let veth: BpfObject
        let cgroup: BpfObject
    }
}

extension BpfPrograms.Source {
    fileprivate func open(_ name: String) throws(KernelError) -> BpfObject {
        switch self {
        case .directory(let path): try BpfObject(name: name, path: "\(path)/\(name).bpf.o")
        case .embedded:
            switch name {
            case "egress": try BpfObject(name: name, corral_embedded_egress)
            case "veth": try BpfObject(name: name, corral_embedded_veth)
            case "cgroup": try BpfObject(name: name, corral_embedded_cgroup)
            default: try BpfObject(name: name, corral_embedded_trace)
            }
        }
    }
}

/// One loaded BPF object of libbpf.
///
/// Safety: libbpf changes a `bpf_object` only in `load`, `reuse` and `pin`, which run before it is shared; the look-ups
/// after that read it.
final class BpfObject: @unchecked Sendable {
    private let pointer: OpaquePointer
    let name: String

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

    init(name: String, path: String) throws(KernelError) {
        corral_bpf_log_begin()
        guard let pointer = corral_bpf_open_file(path) else {
            throw KernelError(call: "bpf_object__open", subject: path, errno: errno, detail: bpfLog())
        }
        self.pointer = pointer
        self.name = name
    }

    deinit {
        bpf_object__close(pointer)
    }

    /// Of its maps (CORRAL_ABI_VERSION).
    var version: UInt32 { bpf_object__kversion(pointer) }

    func layout(of map: String) throws(KernelError) -> MapLayout { MapLayout(wanted: try find(map)) }

    /// Before `load`: the first four bytes of the program's constants.
    func set(constant: UInt32) throws(KernelError) {
        guard corral_bpf_set_constant(pointer, constant) == 0 else {
            throw KernelError(call: "bpf_map__set_initial_value", subject: "\(name)/.rodata", errno: errno)
        }
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

    var programNames: [String] {
        var names: [String] = []
        var next = bpf_object__next_program(pointer, nil)
        while let program = next {
            names.append(String(cString: bpf_program__name(program)))
            next = bpf_object__next_program(pointer, program)
        }
        return names
    }

    /// How many instructions the verifier went through before it accepted a loaded program.
    func verifiedInstructions(_ program: String) throws(KernelError) -> UInt32 {
        var count: UInt32 = 0
        guard corral_bpf_verified(try self.program(program), &count) == 0 else {
            throw KernelError(call: "BPF_OBJ_GET_INFO_BY_FD", subject: "\(name)/\(program)", errno: errno)
        }
        return count
    }

    func reuse(map: String, from other: BpfObject) throws(KernelError) {
        let result = bpf_map__reuse_fd(try find(map), try other.map(map))
        guard result == 0 else {
            throw KernelError(call: "bpf_map__reuse_fd", subject: "\(name)/\(map)", errno: -result)
        }
    }

    /// Before `load`. `found` is laid out as this object asks.
    func adopt(map: String, _ found: Int32, _ path: String) throws(KernelError) {
        let result = bpf_map__reuse_fd(try find(map), found)
        guard result == 0 else { throw KernelError(call: "bpf_map__reuse_fd", subject: path, errno: -result) }
    }

    func pin(map: String, at path: String) throws(KernelError) {
        let result = bpf_map__pin(try find(map), path)
        guard result == 0 else { throw KernelError(call: "bpf_map__pin", subject: path, errno: -result) }
    }

    /// In one step in the place of what is pinned there.
    func pin(map: String, over path: String) throws(KernelError) {
        let unfinished = path + "+new"
        _ = unlink(unfinished)
        let descriptor = try self.map(map)
        guard bpf_obj_pin(descriptor, unfinished) == 0 else {
            throw KernelError(call: "BPF_OBJ_PIN", subject: unfinished, errno: errno)
        }
        crashPoint("maps.pin-before-rename")
        try systemCall("rename", on: path) { rename(unfinished, path) }
    }

    /// In the place of what is pinned there.
    func pin(program: String, at path: String) throws(KernelError) {
        _ = unlink(path)
        crashPoint("programs.unpin")
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
