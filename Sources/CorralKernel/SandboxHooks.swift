internal import CLinux
internal import CorralABI
public import CorralPolicy
internal import Glibc

/// What the kernel knows a sandbox by.
public struct SandboxIdentity: Sendable {
    public var slot: UInt32
    /// Never used twice in an instance, never 0.
    public var epoch: UInt64
    public var ipv4: IPAddress
    public var ipv6: IPAddress
    /// Six bytes each.
    public var mac: [UInt8]
    public var gatewayMAC: [UInt8]

    public init(slot: UInt32, epoch: UInt64, ipv4: IPAddress, ipv6: IPAddress, mac: [UInt8], gatewayMAC: [UInt8]) {
        self.slot = slot
        self.epoch = epoch
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.mac = mac
        self.gatewayMAC = gatewayMAC
    }
}

/// The maps of an instance as the engine writes and reads them, and the hooks of each sandbox.
///
/// Everything here goes through map descriptors, which the kernel makes safe to share.
public final class SandboxHooks: Sendable {
    public let programs: BpfPrograms
    let policies: Int32
    let sandboxes: Int32
    private let slotByCgroup: Int32
    private let slotByIfindex: Int32
    let counters: CounterPage

    public init(programs: BpfPrograms) throws(KernelError) {
        self.programs = programs
        policies = try programs.map("policies")
        sandboxes = try programs.map("sandboxes")
        slotByCgroup = try programs.map("slot_by_cgroup")
        slotByIfindex = try programs.map("slot_by_ifindex")
        counters = try CounterPage(map: programs.map("counters"))
        try makeDirectory(programs.directory + "/sandboxes")
    }

    /// One pointer swap: from here on every packet of the slot is judged by `policy`.
    public func apply(_ policy: PolicyMap, to slot: UInt32) throws(KernelError) {
        var key = slot
        var value = policy.descriptor.raw
        crashPoint("policy.before-swap")
        let result = bpf_map_update_elem(policies, &key, &value, 0)
        guard result == 0 else {
            throw KernelError(call: "bpf_map_update_elem", subject: "policies[\(slot)]", errno: errno)
        }
        crashPoint("policy.swap")
    }

    /// Puts the cgroup hooks on and makes the cgroup known. `policy` is in force before any of them can run.
    public func attach(
        _ identity: SandboxIdentity, name: String, cgroup: borrowing FileDescriptor, cgroupID: UInt64, policy: PolicyMap
    ) throws(KernelError) {
        try prepare(identity.probing, policy: policy)
        crashPoint("hooks.prepared")
        let directory = pins(of: name)
        try makeDirectory(directory)
        crashPoint("hooks.directory")
        for hook in BpfPrograms.cgroupHooks {
            try link(try programs.cgroupProgram(hook.name), hook, to: cgroup, named: name, pins: directory)
        }
        try learn(cgroupID: cgroupID, slot: identity.slot)
        crashPoint("hooks.cgroup")
    }

    /// Everything that the programs ask about a slot, before any of them can run for it.
    func prepare(_ identity: SandboxIdentity, policy: PolicyMap) throws(KernelError) {
        counters.reset(identity.slot)
        crashPoint("hooks.counters")
        try resetBudget(of: identity.slot)
        crashPoint("hooks.budget")
        try applyToUnused(policy, to: identity.slot)
        crashPoint("hooks.policy")
        try write(identity, ifindex: 0)
    }

    func link(
        _ program: Int32, _ hook: (name: String, type: UInt32), to cgroup: borrowing FileDescriptor, named name: String,
        pins directory: String
    ) throws(KernelError) {
        let link = bpf_link_create(program, cgroup.raw, bpf_attach_type(hook.type), nil)
        guard link >= 0 else {
            throw KernelError(call: "bpf_link_create", subject: "\(hook.name) on cgroup \(name)", errno: -link)
        }
        let owner = FileDescriptor(owning: link)
        crashPoint("hooks.link-before-pin")
        try pin(owner, at: "\(directory)/\(hook.name)")
        crashPoint("hooks.link")
    }

    func learn(cgroupID: UInt64, slot: UInt32) throws(KernelError) {
        var key = cgroupID
        var slot = slot
        guard bpf_map_update_elem(slotByCgroup, &key, &slot, 0) == 0 else {
            throw KernelError.update(of: "slot_by_cgroup")
        }
    }

    /// Programs of the veth hooks, and whether each is on ingress, as the host sees it.
    static let vethHooks: [(name: String, ingress: Int32)] = [("from_sandbox", 1), ("to_sandbox", 0)]

    /// Puts the veth hooks on an interface that is still down, and makes it known.
    public func attach(_ identity: SandboxIdentity, name: String, ifindex: UInt32) throws(KernelError) {
        try write(identity.probing, ifindex: ifindex)
        crashPoint("veth.slot")
        for (program, ingress) in Self.vethHooks {
            let raw = try programs.vethProgram(program)
            guard corral_clsact_attach(raw, ifindex, ingress, 0) == 0 else {
                throw KernelError(call: "bpf_tc_attach", subject: "\(program) of \(name)", errno: errno)
            }
            crashPoint("veth.hook")
        }
        try learn(ifindex: ifindex, slot: identity.slot)
        crashPoint("veth.known")
    }

    /// Frames of this interface are the slot's from here on.
    func learn(ifindex: UInt32, slot: UInt32) throws(KernelError) {
        var key = ifindex
        var slot = slot
        guard bpf_map_update_elem(slotByIfindex, &key, &slot, 0) == 0 else {
            throw KernelError.update(of: "slot_by_ifindex")
        }
    }

    /// Asks the kernel whether each hook is on, and is ours.
    public func verify(name: String, cgroup: borrowing FileDescriptor, ifindex: UInt32) throws(KernelError) {
        try verifyCalls(name: name, cgroup: cgroup)
        try verifyFrames(name: name, ifindex: ifindex)
    }

    /// The hooks of its cgroup; bpf(2) alone.
    public func verifyCalls(name: String, cgroup: borrowing FileDescriptor) throws(KernelError) {
        for hook in BpfPrograms.cgroupHooks {
            var count: UInt32 = 0
            var first: UInt32 = 0
            guard corral_bpf_attached(cgroup.raw, Int32(hook.type), &count, &first) == 0 else {
                throw KernelError(call: "BPF_PROG_QUERY", subject: "\(hook.name) of \(name)", errno: errno)
            }
            try expect(first, count, isProgram: programs.cgroupProgram(hook.name), "\(hook.name) of \(name)")
        }
    }

    /// Those of its veth; netlink.
    public func verifyFrames(name: String, ifindex: UInt32) throws(KernelError) {
        for (program, ingress) in Self.vethHooks {
            var first: UInt32 = 0
            // Others may follow it; what it drops they do not see.
            guard corral_clsact_attached(ifindex, ingress, &first) == 0 else {
                throw KernelError(call: "bpf_tc_query", subject: "\(program) of \(name)", errno: errno)
            }
            try expect(first, 1, isProgram: programs.vethProgram(program), "\(program) of \(name)")
        }
    }

    private func expect(_ first: UInt32, _ count: UInt32, isProgram program: Int32, _ subject: String)
        throws(KernelError)
    {
        var id: UInt32 = 0
        guard corral_bpf_program_id(program, &id) == 0 else {
            throw KernelError(call: "BPF_OBJ_GET_INFO_BY_FD", subject: subject, errno: errno)
        }
        guard count == 1, first == id else {
            throw KernelError(
                call: "BPF_PROG_QUERY", subject: subject, errno: 0,
                detail: "\(count) programs are attached, the first is \(first), and it should be \(id) alone"
            )
        }
    }

    /// A sandbox that `detach` takes its hooks off.
    public struct Occupancy: Sendable {
        public let identity: SandboxIdentity
        public let name: String
        public let cgroupID: UInt64
        /// 0: it has no interface.
        public let ifindex: UInt32

        public init(_ identity: SandboxIdentity, name: String, cgroupID: UInt64, ifindex: UInt32) {
            self.identity = identity
            self.name = name
            self.cgroupID = cgroupID
            self.ifindex = ifindex
        }
    }

    /// Forgets sandboxes whose processes and interfaces are gone, and takes their hooks off. Takes some milliseconds, for one as
    /// for many.
    public func detach(_ sandboxes: [Occupancy]) {
        for sandbox in sandboxes {
            var interface = sandbox.ifindex
            _ = bpf_map_delete_elem(slotByIfindex, &interface)
            crashPoint("detach.interface")
            forget(sandbox.identity, cgroupID: sandbox.cgroupID)
            crashPoint("detach.slot")
        }
        removePolicies(of: sandboxes.map(\.identity.slot))
        crashPoint("detach.policies")
        for sandbox in sandboxes { removePins(of: sandbox.name) }
    }

    /// All but the policy.
    func forget(_ identity: SandboxIdentity, cgroupID: UInt64) {
        var cgroup = cgroupID
        _ = bpf_map_delete_elem(slotByCgroup, &cgroup)
        crashPoint("detach.cgroup")
        vacate(identity.slot)
    }

    func vacate(_ slot: UInt32) {
        var slot = slot
        let empty = [UInt8](repeating: 0, count: MemoryLayout<corral_sandbox>.size)
        _ = empty.withUnsafeBytes { bpf_map_update_elem(sandboxes, &slot, $0.baseAddress, 0) }
    }

    /// Takes the pinned hooks of a sandbox away, those an earlier daemon left too.
    public func removePins(of name: String) {
        Self.removePins(in: pins(of: name))
    }

    static func removePins(in directory: String) {
        for name in PinDirectory.entries(of: directory) {
            _ = unlink("\(directory)/\(name)")
            crashPoint("detach.pin")
        }
        _ = rmdir(directory)
    }

    public func counters(of slot: UInt32) -> CounterValues { counters.read(slot) }

    /// Takes the sandbox's next event number, as the programs do.
    public func nextSequence(of slot: UInt32) -> UInt64 { counters.nextSequence(slot) }

    /// One more that the sandbox has asked of the resolver, kept where the next daemon finds it.
    public func countQuery(of slot: UInt32) { counters.countQuery(slot) }

    func pins(of name: String) -> String { "\(programs.directory)/sandboxes/\(name)" }

    private func pin(_ link: borrowing FileDescriptor, at path: String) throws(KernelError) {
        guard bpf_obj_pin(link.raw, path) == 0 else {
            throw KernelError(call: "BPF_OBJ_PIN", subject: path, errno: errno)
        }
    }

    func write(_ identity: SandboxIdentity, ifindex: UInt32) throws(KernelError) {
        var bytes: [UInt8] = []
        bytes.appendLong(identity.epoch)
        bytes.append(contentsOf: identity.ipv4.networkBytes.suffix(4))
        bytes.append(contentsOf: identity.ipv6.networkBytes)
        bytes.append(contentsOf: identity.mac)
        bytes.append(contentsOf: identity.gatewayMAC)
        bytes.appendWord(ifindex)
        bytes.append(contentsOf: repeatElement(0, count: MemoryLayout<corral_sandbox>.size - bytes.count))
        var slot = identity.slot
        let result = bytes.withUnsafeBytes { bpf_map_update_elem(sandboxes, &slot, $0.baseAddress, 0) }
        guard result == 0 else {
            throw KernelError(call: "bpf_map_update_elem", subject: "sandboxes[\(slot)]", errno: errno)
        }
    }
}
