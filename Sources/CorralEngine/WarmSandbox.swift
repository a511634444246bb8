internal import CorralKernel
internal import CorralPolicy

/// A sandbox that nobody has used: parked, connected, behind the deny-all policy.
final class WarmSandbox: Sendable {
    let id: String
    let identity: SandboxIdentity
    let hostPid: Int32
    let ifindex: UInt32
    let interface: String
    let cgroup: SandboxCgroup
    let channel: InitChannel
    let refusals: RefusalLog

    init(
        id: String, identity: SandboxIdentity, hostPid: Int32, ifindex: UInt32, interface: String,
        cgroup: SandboxCgroup, channel: InitChannel, refusals: RefusalLog
    ) {
        self.id = id
        self.identity = identity
        self.hostPid = hostPid
        self.ifindex = ifindex
        self.interface = interface
        self.cgroup = cgroup
        self.channel = channel
        self.refusals = refusals
    }
}

/// Makes and unmakes sandboxes. Every call blocks: for a work queue only.
final class Provisioner: Sendable {
    let configuration: EngineConfiguration
    let hierarchy: CgroupHierarchy
    let hooks: SandboxHooks
    let network: HostNetwork
    let image: ImageLayout
    let spawner: Spawner
    let denyAll: PolicyMap

    /// Host uids a sandbox has.
    static let uidCount: UInt32 = 65_536
    /// Its root's.
    static func firstUID(of slot: UInt32) -> UInt32 { 0x4000_0000 + slot * uidCount }
    /// What a sandbox may write before a policy says otherwise.
    static let defaultDiskBytes: UInt64 = 1 << 30

    init(
        configuration: EngineConfiguration, hierarchy: CgroupHierarchy, hooks: SandboxHooks, network: HostNetwork,
        image: ImageLayout, spawner: Spawner, denyAll: PolicyMap
    ) {
        self.configuration = configuration
        self.hierarchy = hierarchy
        self.hooks = hooks
        self.network = network
        self.image = image
        self.spawner = spawner
        self.denyAll = denyAll
    }

    /// The alias by which an interface is known as this instance's.
    static func aliasPrefix(_ instance: String) -> String { "corral:\(instance):" }

    /// `crl<slot>` for the instance `default`; others carry a hash of their name, within the kernel's 15 bytes.
    static func interfaceName(instance: String, slot: UInt32) -> String {
        guard instance != "default" else { return "crl\(slot)" }
        let hash = instance.utf8.reduce(2_166_136_261 as UInt32) { ($0 ^ UInt32($1)) &* 16_777_619 }
        return "crl\(String(hash % 1_679_616, radix: 36)).\(slot)"
    }

    /// Of the host; the sandbox sees it at `RefusalLog.inside`.
    func refusalFile(of id: String) -> String { "\(configuration.runDirectory)/denials/\(id).jsonl" }

    /// Hooks first, then processes, then the wire, so that nothing is ever without a policy.
    func make(
        id: String, identity: SandboxIdentity, refusals: RefusalLog, layout: ImageLayout,
        binds: [SpawnRequest.Mount] = []
    ) throws -> WarmSandbox {
        let cgroup = try SandboxCgroup.create(hierarchy: hierarchy, instance: configuration.instance, id: id)
        do {
            return try make(
                id: id, identity: identity, in: cgroup, refusals: refusals, layout: layout, binds: binds)
        } catch {
            cgroup.killAll()
            hooks.detach(identity, name: id, cgroupID: cgroup.id, ifindex: 0)
            try? cgroup.remove()
            throw error
        }
    }

    private func make(
        id: String, identity: SandboxIdentity, in cgroup: SandboxCgroup, refusals: RefusalLog, layout: ImageLayout,
        binds: [SpawnRequest.Mount]
    ) throws -> WarmSandbox {
        let directory = try cgroup.directory()
        try hooks.attach(identity, name: id, cgroup: directory, cgroupID: cgroup.id, policy: denyAll)
        let spawned = try spawner.spawn(
            SpawnRequest(
                uidBase: Self.firstUID(of: identity.slot), uidCount: Self.uidCount, upperBytes: Self.defaultDiskBytes,
                upperInodes: 0,
                hostname: id,
                image: layout.rootfs, layers: layout.layers,
                mounts: layout.mounts.map {
                    SpawnRequest.Mount(source: $0.source, target: $0.target, readOnly: $0.readOnly)
                } + [
                    SpawnRequest.Mount(source: refusalFile(of: id), target: RefusalLog.inside, readOnly: true)
                ] + binds
            ),
            cgroupDirectory: directory
        )
        let pid = spawned.pid
        let netns = spawned.netns
        let netlink = spawned.netlink
        let control = spawned.control
        let probe = spawned.probe
        let interface = Self.interfaceName(instance: configuration.instance, slot: identity.slot)
        let plan = NetworkPlan(
            interfaceName: interface, alias: Self.aliasPrefix(configuration.instance) + id, ipv4: identity.ipv4,
            ipv6: identity.ipv6, mac: identity.mac, gatewayMAC: identity.gatewayMAC
        )
        let ifindex = try network.createLink(plan, netns: netns)
        do throws(KernelError) {
            try hooks.attach(identity, name: id, ifindex: ifindex)
            try network.activate(plan, index: ifindex, inside: netlink)
            try hooks.verify(name: id, cgroup: directory, ifindex: ifindex)
            try hooks.probe(identity, name: id, ifindex: ifindex, with: probe, network: network)
            let channel = InitChannel(control: control)
            guard case .hello? = try channel.receive(timeoutMilliseconds: 10_000) else {
                throw KernelError(call: "corral-init", subject: id, errno: 0, detail: "did not say hello")
            }
            return WarmSandbox(
                id: id, identity: identity, hostPid: pid, ifindex: ifindex, interface: interface,
                cgroup: cgroup, channel: channel, refusals: refusals
            )
        } catch {
            try? network.remove(interfaces: [ifindex])
            throw error
        }
    }

    /// Ends every process, and takes away the wire, the hooks and the cgroup, in this order.
    func destroy(_ sandbox: WarmSandbox) throws {
        sandbox.cgroup.killAll()
        try network.remove(interfaces: [sandbox.ifindex])
        hooks.detach(sandbox.identity, name: sandbox.id, cgroupID: sandbox.cgroup.id, ifindex: sandbox.ifindex)
        try sandbox.cgroup.remove()
        sandbox.refusals.remove()
    }
}
