internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// Sandboxes that an earlier daemon has left. Every call blocks: for a work queue only.
extension Provisioner {
    /// A sandbox that is known again, and what its corral-init holds.
    struct Adopted: Sendable {
        var sandbox: WarmSandbox
        var messages: [InitMessage]
        /// Nothing in it runs, so that its corral-init could not tell yet.
        var isFrozen: Bool
        /// corral-init is gone, and everything with it.
        var hasEnded: Bool
    }

    private static let patience: Int32 = 5_000
    private static let ending = 2_000

    /// Puts this daemon's programs on the sandbox's hooks, each in one step, sees that they are on, and takes its corral-init over.
    /// Throws when something of it is not as its record says: then it is not to be trusted.
    /// - Parameter interfaces: indices of this instance's by the sandbox's id; the kernel has no quicker way to find one than to list all.
    func adopt(
        _ record: SandboxRecord, _ identity: SandboxIdentity, refusals: RefusalLog, layout: ImageLayout,
        interfaces: [String: UInt32]
    ) throws -> Adopted {
        let cgroup = try SandboxCgroup.open(
            hierarchy: hierarchy, instance: configuration.instance, id: record.id)
        guard let occupant = try hooks.occupant(of: identity.slot), occupant.epoch == identity.epoch else {
            throw KernelError(
                call: "adopt", subject: record.id, errno: 0, detail: "the maps do not know it as slot \(identity.slot)")
        }
        func sandbox(_ channel: InitChannel, ifindex: UInt32) -> WarmSandbox {
            WarmSandbox(
                id: record.id, identity: identity, process: record.process, ifindex: ifindex,
                interface: record.interface, cgroup: cgroup, channel: channel, refusals: refusals,
                image: record.image, layout: layout)
        }
        func takeOver() throws -> Adopted {
            guard try cgroup.contains(record.process.pid) else {
                throw KernelError(
                    call: "adopt", subject: record.id, errno: 0,
                    detail: "process \(record.process.pid) is not in its cgroup")
            }
            guard let interface = interfaces[record.id], interface == occupant.ifindex else {
                throw KernelError(call: "adopt", subject: record.id, errno: 0, detail: "its interface is not there")
            }
            try hooks.renew(name: record.id, ifindex: interface)
            try hooks.verify(name: record.id, cgroup: cgroup.directory, ifindex: interface)
            crashPoint("adopt.verified")
            let channel = try InitChannel.succeed(at: initSocket(of: record.id))
            crashPoint("adopt.succeeded")
            let isFrozen = cgroup.isFrozen
            let messages = isFrozen ? [] : try channel.recount(timeoutMilliseconds: Self.patience)
            crashPoint("adopt.recounted")
            return Adopted(
                sandbox: sandbox(channel, ifindex: interface), messages: messages, isFrozen: isFrozen, hasEnded: false)
        }
        if record.process.isAlive {
            do {
                return try takeOver()
            } catch {
                // One that is just ending has let go of its interface or its socket before.
                guard record.process.ends(withinMilliseconds: Self.ending) else { throw error }
            }
        }
        // What it left behind had nobody to answer to.
        try cgroup.killAll()
        return Adopted(sandbox: sandbox(try .ended(), ifindex: 0), messages: [], isFrozen: false, hasEnded: true)
    }

    /// Of this instance's interfaces, by the sandbox that each belongs to.
    func interfaces() throws -> [String: UInt32] {
        let prefix = Self.aliasPrefix(configuration.instance)
        return Dictionary(
            try network.interfaces(aliasPrefix: prefix).map { (String($0.alias.dropFirst(prefix.count)), $0.index) },
            uniquingKeysWith: { first, _ in first })
    }

    /// Ends and removes everything of this instance that carries a sandbox's name, but for those in `kept`: processes first, then
    /// wires, hooks, cgroups. Nothing that an instance of another name made is touched.
    static func removeLeftovers(
        except kept: Set<String>, _ configuration: EngineConfiguration, _ hierarchy: CgroupHierarchy,
        _ network: HostNetwork
    ) throws {
        let instance = configuration.instance
        try hierarchy.removeLeftovers(instance: instance, except: kept)
        crashPoint("leftovers.cgroups")
        let prefix = aliasPrefix(instance)
        let links = try network.interfaces(aliasPrefix: prefix).filter {
            !kept.contains(String($0.alias.dropFirst(prefix.count)))
        }
        try network.remove(interfaces: links.map(\.index))
        crashPoint("leftovers.wires")
        for id in PinDirectory.sandboxes(of: instance) where !kept.contains(id) {
            PinDirectory.remove(sandbox: id, of: instance)
            crashPoint("leftovers.pins")
        }
        for (directory, suffix) in [("denials", ".jsonl"), ("init", ""), ("names", "")] {
            let path = "\(configuration.runDirectory)/\(directory)"
            try Files.makeDirectories(path)
            for file in try Files.names(in: path) where !kept.contains(String(file.dropLast(suffix.count))) {
                try Files.removeTree("\(path)/\(file)")
            }
        }
        // Who connects there is corral-init's daemon.
        if chmod("\(configuration.runDirectory)/init", 0o700) != 0 {
            throw FileError(call: "chmod", path: "\(configuration.runDirectory)/init", errno: errno)
        }
    }
}
