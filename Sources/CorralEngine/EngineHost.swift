internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Glibc
internal import Synchronization

/// What an instance holds of the host, from start to stop: locks, programs, pins, the address translation rule.
final class EngineHost: Sendable {
    let provisioner: Provisioner
    let images: ImageStore
    let snapshots: SnapshotStore
    private let programs: BpfPrograms
    /// They judge what sandboxes ask of the kernel beside the network.
    let lsm: LsmHooks
    /// They judge the paths that policies speak of.
    private let paths: PathHooks
    private let ring = Mutex<DecisionRing?>(nil)
    let records: RecordStore
    /// Sandboxes of a daemon that was killed, as far as they are written down and not gone.
    let inherited: [SandboxRecord]
    let addressChanges: HostAddressChanges
    let enforcements: EnforcementStore
    /// Where this daemon pins the hooks of enforced cgroups.
    let enforcedPins: String
    private let lock: InstanceLock
    private let configuration: EngineConfiguration

    /// Blocks; for a work queue.
    init(configuration: EngineConfiguration, hub: EventHub) throws {
        self.configuration = configuration
        let instance = configuration.instance
        lock = try InstanceLock(directory: configuration.stateDirectory)
        crashPoint("start.locked")
        try Bpffs.ensureMounted(at: "/sys/fs/bpf")
        let hierarchy = try CgroupHierarchy.detect()
        let network = try HostNetwork()
        // Before the addresses are read for the first time, so that no change falls between.
        addressChanges = try HostAddressChanges()
        records = try RecordStore(directory: configuration.runDirectory + "/sandboxes")
        (programs, inherited) = try Self.takeOver(configuration, records, hierarchy, network)
        let hooks = try SandboxHooks(programs: programs)
        crashPoint("start.taken-over")
        lsm = LsmHooks(programs: programs)
        paths = PathHooks(programs: programs, lsm: lsm)
        if let failure = paths.failure { Self.print("rules on paths stay under the last corrald's hooks: \(failure)") }
        enforcements = EnforcementStore(stateDirectory: configuration.stateDirectory)
        enforcedPins = try PinDirectory.makeEnforced(instance)
        crashPoint("start.enforced-directory")
        try Forwarding.enable()
        try PoolNAT.install(instance: instance, pool4: configuration.subnet, pool6: configuration.subnet6)
        crashPoint("start.translation")
        for name in ["host", "base"] {
            try HostImage.removeUnfinished(at: "\(configuration.stateDirectory)/images/\(name)")
        }
        let image = try HostImage.prepare(at: configuration.stateDirectory + "/images/host")
        if inherited.isEmpty {
            do throws(FileError) {
                try HostImage.removeOthers(at: configuration.stateDirectory + "/images/host", keeping: image)
            } catch {
                Self.print("roots of the host as it was are left: \(error)")
            }
        }
        crashPoint("start.image")
        images = try ImageStore(directory: configuration.stateDirectory + "/images")
        snapshots = try SnapshotStore(directory: configuration.stateDirectory + "/snapshots")
        provisioner = Provisioner(
            configuration: configuration, hierarchy: hierarchy, hooks: hooks, network: network, hostImage: image,
            spawner: try Spawner(), denyAll: try PolicyMap(.denyAll, number: 1)
        )
    }

    /// The programs, over the maps that an earlier daemon has pinned where there are any, and the sandboxes that may be gone on with.
    /// What else that daemon has left is removed. Throws when there are sandboxes whose maps this daemon cannot use: they go on
    /// under the hooks they have.
    private static func takeOver(
        _ configuration: EngineConfiguration, _ records: RecordStore, _ hierarchy: CgroupHierarchy,
        _ network: HostNetwork
    ) throws -> (BpfPrograms, [SandboxRecord]) {
        let instance = configuration.instance
        let directory = try PinDirectory.make(instance)
        let written = try records.load(report: print)
        crashPoint("start.records")
        let pinned = Set(PinDirectory.sandboxes(of: instance))
        let found = PinDirectory.hasMaps(instance) ? pinned.intersection(try hierarchy.sandboxes(of: instance)) : []
        let kept = written.filter { found.contains($0.id) }
        for record in written where !found.contains(record.id) {
            print("sandbox \(record.id) is gone")
            records.remove(record.id)
        }
        let source = configuration.testObjects.map { BpfPrograms.Source.directory($0) } ?? .embedded
        if let other = kept.first(where: { $0.control ?? 1 != InitChannel.version }) {
            throw unusable(
                kept.count,
                "the corral-init of \(other.id) speaks version \(other.control ?? 1) of the protocol; this corrald speaks \(InitChannel.version)"
            )
        }
        do {
            let programs = try BpfPrograms(directory: directory, source: source)
            try Provisioner.removeLeftovers(except: Set(kept.map(\.id)), configuration, hierarchy, network)
            return (programs, kept)
        } catch let error as KernelError where error.errno == EEXIST {
            guard kept.isEmpty else { throw unusable(kept.count, "\(error)") }
        }
        // Nobody is left who needs them.
        try Provisioner.removeLeftovers(except: [], configuration, hierarchy, network)
        try PinDirectory.remove(instance)
        return (try BpfPrograms(directory: PinDirectory.make(instance), source: source), [])
    }

    private static func unusable(_ count: Int, _ reason: String) -> EngineError {
        EngineError(
            .conflict, "\(count) sandboxes of another corrald are here, and this one cannot go on with them",
            detail: [
                reason,
                "they stay under their policies; end them with the corrald that made them, or start that one again",
            ])
    }

    /// Throws `invalidRequest` where a policy has rules on paths that nobody would enforce.
    func requirePathHooks(for policy: Policy) throws {
        guard let field = policy.files.rules.firstField else { return }
        do {
            try paths.require()
        } catch {
            throw EngineError(
                .invalidRequest, "\(field): this host does not enforce rules on paths, which need the BPF LSM",
                detail: [error.detail ?? "\(error)", "see the line BPF LSM of corral doctor"])
        }
    }

    /// Every hook is this daemon's now. Blocks; for a work queue.
    func finishTakingOver() throws(KernelError) { try programs.finishTakingOver() }

    /// Blocks; for a work queue. What of earlier daemons could not be gone on with after all.
    func removeLeftovers(except kept: Set<String>) throws {
        try Provisioner.removeLeftovers(except: kept, configuration, provisioner.hierarchy, provisioner.network)
    }

    /// What the kernel has decided from here on, and what it kept of it while there was no daemon.
    func readDecisions(for hub: EventHub) throws(KernelError) {
        let reader = try DecisionRing(programs: programs) { result in
            switch result {
            case .success(let decision): hub.receive(decision)
            case .failure(let error): Self.print("a record of the kernel could not be read: \(error)")
            }
        }
        ring.withLock { $0 = reader }
    }

    /// What the host's addresses make reserved. Blocks.
    func context() throws -> HostContext {
        HostContext(
            hostAddresses: try provisioner.network.addresses().sorted {
                ($0.address, $0.length) < ($1.address, $1.length)
            },
            sandboxPools: [configuration.subnet, configuration.subnet6]
        )
    }

    /// Blocks; for a work queue.
    func loadTrace(
        deliver: @escaping @Sendable (Result<WireTrace, WireError>) -> Void, endBatch: @escaping @Sendable () -> Void
    ) throws(KernelError) -> SyscallTrace {
        try SyscallTrace(programs: programs, deliver: deliver, endBatch: endBatch)
    }

    /// Once no sandbox is left.
    func close() throws {
        provisioner.spawner.stop()
        ring.withLock { $0 }?.stop()
        try PoolNAT.remove(instance: configuration.instance)
        crashPoint("stop.translation")
        try PinDirectory.remove(configuration.instance)
        crashPoint("stop.pins")
        // Those in use stay: an enforced cgroup is under its policy without a daemon too.
        PinDirectory.removeEmptyEnforced(configuration.instance)
        try provisioner.hierarchy.removeInstance(instance: configuration.instance)
        for name in ["denials", "init", "sandboxes"] {
            try Files.removeTree("\(configuration.runDirectory)/\(name)")
        }
    }

    /// Once this daemon's own hooks are on all enforced cgroups.
    func removeEarlierEnforcedPins() {
        PinDirectory.removeEnforced(configuration.instance, except: enforcedPins)
    }

    /// For what nobody waits to hear.
    func report(_ text: String) {
        Self.print(text)
    }

    private static func print(_ text: String) {
        let line = Array("corrald: \(text)\n".utf8)
        _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
    }
}

/// Keeps a second daemon from the same state.
///
/// The lock goes with the descriptor, at exit at the latest.
final class InstanceLock: Sendable {
    private let descriptor: Int32

    init(directory: String) throws {
        var path = ""
        for part in directory.split(separator: "/") {
            path += "/\(part)"
            if mkdir(path, 0o755) != 0, errno != EEXIST {
                throw KernelError(call: "mkdir", subject: path, errno: errno)
            }
        }
        let file = directory + "/lock"
        descriptor = open(file, O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw KernelError(call: "open", subject: file, errno: errno) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw KernelError(call: "flock", subject: file, errno: errno, detail: "another corrald runs on this state")
        }
    }

    deinit {
        close(descriptor)
    }
}
