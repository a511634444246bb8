internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// Makes and unmakes sandboxes. Every call blocks: for a work queue only.
final class Provisioner: Sendable {
    let configuration: EngineConfiguration
    let hierarchy: CgroupHierarchy
    let hooks: SandboxHooks
    let network: HostNetwork
    /// The image `host`.
    let hostImage: ImageLayout
    let spawner: Spawner
    let denyAll: PolicyMap

    /// Host uids a sandbox has.
    static let uidCount: UInt32 = 65_536
    /// Its root's.
    static func firstUID(of slot: UInt32) -> UInt32 { 0x4000_0000 + slot * uidCount }
    /// What a sandbox may write before a policy says otherwise.
    static let defaultDiskBytes: UInt64 = 1 << 30
    /// Files cost memory without having a size.
    static let bytesPerFile: UInt64 = 4096

    init(
        configuration: EngineConfiguration, hierarchy: CgroupHierarchy, hooks: SandboxHooks, network: HostNetwork,
        hostImage: ImageLayout, spawner: Spawner, denyAll: PolicyMap
    ) {
        self.configuration = configuration
        self.hierarchy = hierarchy
        self.hooks = hooks
        self.network = network
        self.hostImage = hostImage
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

    /// Where the next daemon connects to the sandbox's corral-init.
    func initSocket(of id: String) -> String { "\(configuration.runDirectory)/init/\(id)" }

    /// Hooks first, then processes, then the wire, so that nothing is ever without a policy.
    func make(
        id: String, identity: SandboxIdentity, refusals: RefusalLog, image: String, layout: ImageLayout,
        binds: [SpawnRequest.Mount] = []
    ) throws -> WarmSandbox {
        let cgroup = try SandboxCgroup.create(hierarchy: hierarchy, instance: configuration.instance, id: id)
        crashPoint("make.cgroup")
        do {
            return try make(
                id: id, identity: identity, in: cgroup, refusals: refusals, image: image, layout: layout,
                binds: binds)
        } catch {
            clear(cgroup, of: identity, id)
            throw error
        }
    }

    /// Of one that could not be made, for want of descriptors perhaps: some are free again once what it held has gone.
    private func clear(_ cgroup: SandboxCgroup, of identity: SandboxIdentity, _ id: String) {
        let occupancy = SandboxHooks.Occupancy(identity, name: id, cgroupID: cgroup.id, ifindex: 0)
        for _ in 0..<50 {
            do {
                try cgroup.killAll()
                hooks.detach([occupancy])
                return try cgroup.remove()
            } catch {
                usleep(100_000)
            }
        }
    }

    private func make(
        id: String, identity: SandboxIdentity, in cgroup: SandboxCgroup, refusals: RefusalLog, image: String,
        layout: ImageLayout, binds: [SpawnRequest.Mount]
    ) throws -> WarmSandbox {
        try hooks.attach(identity, name: id, cgroup: cgroup.directory, cgroupID: cgroup.id, policy: denyAll)
        let spawned = try spawner.spawn(
            SpawnRequest(
                uidBase: Self.firstUID(of: identity.slot), uidCount: Self.uidCount, upperBytes: Self.defaultDiskBytes,
                upperInodes: Self.defaultDiskBytes / Self.bytesPerFile,
                hostname: id,
                image: layout.rootfs, layers: layout.layers,
                mounts: layout.mounts.map {
                    SpawnRequest.Mount(source: $0.source, target: $0.target, readOnly: $0.readOnly)
                } + [
                    SpawnRequest.Mount(source: refusalFile(of: id), target: RefusalLog.inside, readOnly: true)
                ] + binds
            ),
            cgroupDirectory: cgroup.directory
        )
        crashPoint("make.spawned")
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
        crashPoint("make.wire")
        do throws(KernelError) {
            try hooks.attach(identity, name: id, ifindex: ifindex)
            try network.activate(plan, index: ifindex, inside: netlink)
            crashPoint("make.wire-up")
            try hooks.verify(name: id, cgroup: cgroup.directory, ifindex: ifindex)
            try hooks.probe(identity, name: id, ifindex: ifindex, with: probe, network: network)
            crashPoint("make.proven")
            let channel = InitChannel(control: control)
            guard case .hello? = try channel.receive(timeoutMilliseconds: 10_000) else {
                throw KernelError(call: "corral-init", subject: id, errno: 0, detail: "did not say hello")
            }
            crashPoint("make.hello")
            try channel.offer(at: initSocket(of: id))
            return WarmSandbox(
                id: id, identity: identity, process: try ProcessIdentity(pid: pid), ifindex: ifindex,
                interface: interface,
                cgroup: cgroup, channel: channel, refusals: refusals, image: image, layout: layout
            )
        } catch {
            try? network.remove(interfaces: [ifindex])
            throw error
        }
    }

    /// Whether a sandbox that has waited is still what `make` left: the hooks of its cgroup are on it, and its corral-init is
    /// there. Asks the kernel by bpf(2) alone; some tens of microseconds. `hooks.verifyFrames` is for those of its veth.
    func isIntact(_ sandbox: WarmSandbox) -> Bool {
        do {
            guard try sandbox.channel.receive(timeoutMilliseconds: 0) == nil else { return false }
            try hooks.verifyCalls(name: sandbox.id, cgroup: sandbox.cgroup.directory)
            return true
        } catch {
            return false
        }
    }

    /// Ends every process, and takes away the wires, the hooks and the cgroups, in this order. The kernel waits once for all
    /// of one call. What could not be destroyed can be tried again.
    /// - Returns: why, for each that could not be destroyed, by its id.
    func destroy(_ sandboxes: [WarmSandbox]) -> [String: any Error] {
        var failures: [String: any Error] = [:]
        for sandbox in sandboxes {
            sandbox.holdNetwork()
            do { try sandbox.cgroup.killAll() } catch { failures[sandbox.id] = error }
            crashPoint("destroy.killed")
        }
        defer { for sandbox in sandboxes { sandbox.releaseNetwork() } }
        let killed = sandboxes.filter { failures[$0.id] == nil }
        do {
            try network.remove(interfaces: killed.map(\.ifindex))
        } catch {
            // One of them may be at fault.
            for sandbox in killed {
                do { try network.remove(interfaces: [sandbox.ifindex]) } catch { failures[sandbox.id] = error }
            }
        }
        crashPoint("destroy.unwired")
        let unwired = killed.filter { failures[$0.id] == nil }
        hooks.detach(
            unwired.map {
                SandboxHooks.Occupancy($0.identity, name: $0.id, cgroupID: $0.cgroup.id, ifindex: $0.ifindex)
            })
        for sandbox in unwired {
            do { try sandbox.cgroup.remove() } catch { failures[sandbox.id] = error }
            crashPoint("destroy.cgroup")
            sandbox.refusals.remove()
            crashPoint("destroy.refusals")
            _ = unlink(initSocket(of: sandbox.id))
            crashPoint("destroy.socket")
        }
        return failures
    }
}
