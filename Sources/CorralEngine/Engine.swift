public import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Glibc
internal import Metrics

/// One instance of Corral on this host: its pool, sandboxes, maps and event stream.
public actor Engine {
    public nonisolated let configuration: EngineConfiguration

    let host: EngineHost
    let hub: EventHub
    let journal: Journal
    let poller: Poller
    let making = WorkQueue("corral.make")
    /// One that is slow to make takes a place and delays no other.
    let makers = WorkQueue("corral.makers", width: Engine.parallelism)
    let destroying = WorkQueue("corral.destroy", width: 2)
    let watching = WorkQueue("corral.watch")
    let compiling = WorkQueue("corral.compile")
    let ending = WorkQueue("corral.end")
    let measuring = WorkQueue("corral.measure")
    let freezing = WorkQueue("corral.freeze")
    let checking = WorkQueue("corral.check")
    let recording = WorkQueue("corral.records")
    var filters = SyscallFilters()
    let names: SandboxNames
    let nameService: NameService
    var slots: SlotTable
    var policies: PolicyTable
    var warmPool: WarmPool
    var live: [String: LiveSandbox] = [:]
    var enforced: [String: EnforcedCgroup] = [:]
    /// Why the list of enforced cgroups could not be read at the start.
    var enforcementDamage: (any Error)?
    var epoch: UInt64 = 0
    /// Up to which numbers are written down as given out.
    var reserved = RecordStore.Numbers(epoch: 0, policy: 0)
    /// While sandboxes of an earlier daemon are taken over.
    var inheritedPolicies: [UInt32: InheritedPolicy] = [:]
    /// For the pool.
    var fills = 0
    var doomed: [WarmSandbox] = []
    /// More are waited for, to be destroyed together.
    var isGathering = false
    /// Those that could not be destroyed, by id.
    var undestroyed: [String: Undestroyed] = [:]
    /// Of those that are being destroyed.
    var batches = 0
    var isStopping = false
    var warmTimes = Latencies()
    var coldTimes = Latencies()
    let warmStartTimes = Timer(label: "corral_sandbox_start_duration_seconds", dimensions: [("start", "warm")])
    let coldStartTimes = Timer(label: "corral_sandbox_start_duration_seconds", dimensions: [("start", "cold")])
    /// Sandboxes that are being destroyed.
    var pending = 0
    /// Once a sandbox has been traced.
    var trace: SyscallTrace?
    var nextWatcher: UInt64 = 0
    /// What sandboxes that are being made stand on.
    var basesInUse: [UInt64: FileBase] = [:]
    var nextUse: UInt64 = 0
    /// Archives that are being read or written.
    var transfers = 0
    /// Where the round of `watchHooks` goes on.
    var nextVerified = 0
    /// Where the round of `watchLimits` goes on.
    var nextWatched = 0

    /// Sandboxes that are made at once: enough that a few slow ones do not stop the others.
    static let parallelism = max(4, 2 * sysconf(Int32(_SC_NPROCESSORS_ONLN)))

    /// Makes ready what the host needs, goes on with the sandboxes of a daemon that was killed, and removes what else it left.
    /// Throws before anything is half on.
    public init(configuration: EngineConfiguration) async throws {
        self.configuration = configuration
        let hub = EventHub()
        self.hub = hub
        let (host, journal, context) = try await making.run {
            let host = try EngineHost(configuration: configuration, hub: hub)
            let journal = Journal(
                directory: configuration.journalDirectory, configuration.journal, report: { host.report($0) })
            return (host, journal, try host.context())
        }
        self.host = host
        self.journal = journal
        hub.keep(in: journal)
        policies = PolicyTable(host: context)
        warmPool = WarmPool(
            target: configuration.poolSize, low: configuration.poolLow, rate: configuration.poolRate,
            width: Engine.parallelism / 2)
        poller = try Poller()
        slots = SlotTable(subnet: configuration.subnet, subnet6: configuration.subnet6)
        let names = try SandboxNames(
            hooks: host.provisioner.hooks, hub: hub, directory: configuration.runDirectory + "/names")
        self.names = names
        hub.resolveNames(by: names)
        nameService = try await NameService.start(
            configuration.names, instance: configuration.instance, names: names, hooks: host.provisioner.hooks)
        crashPoint("start.names")
        _ = try await syscallFilter(for: nil)
        _ = warmPool.use("host", host.provisioner.hostImage)
        record(AuditRecord(.start, by: .thisProcess))
        try await adoptSandboxes()
        crashPoint("start.adopted")
        try await nameService.serve()
        try host.readDecisions(for: hub)
        crashPoint("start.decisions")
        let isComplete = await adoptEnforced()
        crashPoint("start.enforced")
        try sweepAdopted(enforced: isComplete)
        crashPoint("start.swept")
        try await making.run { try host.finishTakingOver() }
        crashPoint("start.finished")
    }

    /// Keeps the pool filled and the events flowing until cancelled; then destroys every sandbox and unloads.
    public func run() async throws {
        watchHostAddresses()
        var round = 0
        while !Task.isCancelled {
            fill()
            reportKernelLosses()
            reportBudgets()
            if round % 5 == 0 {
                await watchHooks()
                await watchLimits()
            }
            // Every five seconds.
            if round % 25 == 0 {
                names.sweep()
                retryDestroying()
                warmPool.dropIdle(keeping: "host").forEach(discard)
                await serveNames()
            }
            round += 1
            try? await Task.sleep(for: .milliseconds(200))
        }
        isStopping = true
        for sandbox in live.values { destroy(sandbox, cause: .removed) }
        warmPool.drain().forEach(discard)
        while pending > 0 || fills > 0 { await pause(milliseconds: 10) }
        retryDestroying()
        while pending > 0 { await pause(milliseconds: 10) }
        hub.finish()
        await stopServingNames()
        try await nameService.stop()
        let (host, journal, trace) = (host, journal, trace)
        try await making.run {
            defer {
                let stop = AuditRecord(.stop, by: .thisProcess)
                journal.close(with: Event(time: Clock.realtime(), seq: 0, sandbox: nil, body: .audit(stop)))
            }
            trace?.close()
            try host.close()
        }
    }

    /// Sleeps even in a task that has been cancelled.
    func pause(milliseconds: Int) async {
        await Task.detached { try? await Task.sleep(for: .milliseconds(milliseconds)) }.value
    }

    // MARK: what callers ask

    /// By id, unique prefix of an id, or name.
    public func sandbox(_ reference: String) async throws -> SandboxInfo {
        info(try find(reference))
    }

    func find(_ reference: String) throws -> LiveSandbox {
        if let exact = live[reference] { return exact }
        if let named = live.values.first(where: { $0.name == reference }) { return named }
        let matches = live.values.filter { !reference.isEmpty && $0.id.hasPrefix(reference) }
        guard matches.count < 2 else { throw EngineError(.conflict, "\(reference) fits more than one sandbox") }
        guard let match = matches.first else { throw EngineError(.notFound, "no sandbox \(reference)") }
        return match
    }

    /// Oldest first; exited ones that were not removed included.
    public func sandboxes() async -> [SandboxInfo] {
        live.values.map(info).sorted { ($0.createdAt, $0.id) < ($1.createdAt, $1.id) }
    }

    func info(_ sandbox: LiveSandbox) -> SandboxInfo {
        let state: SandboxInfo.State =
            switch sandbox.state {
            case .claimed: .claimed
            case .running(let startedAt): .running(startedAt: startedAt)
            case .paused(let startedAt): .paused(startedAt: startedAt)
            case .exited(let startedAt, let exitedAt, let result):
                .exited(startedAt: startedAt, exitedAt: exitedAt, result: result)
            }
        let counters = SandboxCounters(host.provisioner.hooks.counters(of: sandbox.warm.identity.slot))
        var info = SandboxInfo(
            id: sandbox.id, name: sandbox.name, state: state, image: sandbox.image,
            policyName: sandbox.applied?.policy.name ?? "deny-all",
            policyGeneration: sandbox.applied?.generation ?? 0,
            policyAudits: sandbox.applied?.policy.mode == .audit, command: sandbox.spec.command.arguments,
            ipv4: sandbox.warm.identity.ipv4, ipv6: sandbox.warm.identity.ipv6, hostPid: sandbox.warm.hostPid,
            createdAt: sandbox.createdAt, counters: counters, autoRemove: sandbox.spec.autoRemove,
            budgets: sandbox.applied?.policy.budgets ?? EgressBudgets(),
            dnsQueries: nameService.resolver.queries(of: ResolverClient(sandbox.warm.identity)),
            published: sandbox.published.map { publication, forwarder in
                PortPublication(
                    hostAddress: publication.hostAddress, hostPort: forwarder.hostPort,
                    sandboxPort: publication.sandboxPort, proto: publication.proto
                )
            }
        )
        info.runningCommands = sandbox.commands.values.count { !$0.hasEnded }
        return info
    }

    /// Events from now on, oldest first, after the filter. A reader that falls more than `buffer` events behind loses the
    /// newest, and is told how many by a `lost` event.
    public func events(matching filter: EventFilter, buffer: Int) async -> AsyncStream<Event> {
        hub.subscribe(filter, buffer: buffer)
    }

    /// What this host can do. Asks the kernel each time.
    public func doctor() async -> [HostCheck] {
        let known = configuration.names.servers.compactMap { DNSEndpoint($0) }
        let servers = known.isEmpty ? UpstreamServers() : UpstreamServers(known)
        let checks = HostChecks(
            host: host, configuration: configuration, statistics: await statistics(), servers: servers.current())
        return (try? await checking.run { checks.all() }) ?? []
    }

    // MARK: events

    func emit(_ body: Event.Body, _ sandbox: LiveSandbox) {
        hub.publish(
            Event(
                time: Clock.realtime(), seq: host.provisioner.hooks.nextSequence(of: sandbox.warm.identity.slot),
                sandbox: sandbox.reference, body: body
            )
        )
    }

    func reportKernelLosses() {
        for sandbox in live.values { reportKernelLosses(of: sandbox) }
    }

    func reportKernelLosses(of sandbox: LiveSandbox) {
        let lost = host.provisioner.hooks.counters(of: sandbox.warm.identity.slot).lost
        guard lost > sandbox.lostReported else { return }
        let count = lost - sandbox.lostReported
        sandbox.lostReported = lost
        if live[sandbox.id] === sandbox, !sandbox.isBeingDestroyed { remember(sandbox) }
        hub.count(kernelLoss: count)
        hub.publish(
            Event(
                time: Clock.realtime(), seq: 0, sandbox: sandbox.reference,
                body: .lost(Loss(count: count, place: .kernel))
            )
        )
    }
}
