public import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// One instance of Corral on this host: its pool, sandboxes, maps and event stream.
public actor Engine {
    public nonisolated let configuration: EngineConfiguration

    let host: EngineHost
    let hub: EventHub
    private let poller: Poller
    private let making = WorkQueue("corral.make")
    private let destroying = WorkQueue("corral.destroy")
    private let seccomp: [UInt8]
    private var slots: SlotTable
    private var warm: [WarmSandbox] = []
    private var live: [String: LiveSandbox] = [:]
    private var epoch: UInt64 = 0
    private var policyNumber: UInt32 = 1
    private var filling = 0
    private var isStopping = false
    private var coldStarts: UInt64 = 0
    private var warmStarts: UInt64 = 0
    private var compiled: [Policy: PolicyMap] = [:]
    private var pending = 0

    /// Makes ready what the host needs and removes what an earlier daemon left. Throws before anything is half on.
    public init(configuration: EngineConfiguration) async throws {
        self.configuration = configuration
        let hub = EventHub()
        self.hub = hub
        host = try await making.run { try EngineHost(configuration: configuration, hub: hub) }
        poller = try Poller()
        seccomp = try SeccompProgram.defaultProfile()
        slots = SlotTable(subnet: configuration.subnet, subnet6: configuration.subnet6)
    }

    /// Keeps the pool filled and the events flowing until cancelled; then destroys every sandbox and unloads.
    public func run() async throws {
        while !Task.isCancelled {
            fill()
            reportKernelLosses()
            try? await Task.sleep(for: .milliseconds(200))
        }
        isStopping = true
        for sandbox in live.values { destroy(sandbox, cause: .removed) }
        for sandbox in warm { discard(sandbox) }
        warm = []
        while pending > 0 || filling > 0 { await pause(milliseconds: 10) }
        hub.finish()
        let host = host
        try await making.run { try host.close() }
    }

    /// Sleeps even in a task that has been cancelled.
    private func pause(milliseconds: Int) async {
        await Task.detached { try? await Task.sleep(for: .milliseconds(milliseconds)) }.value
    }

    // MARK: the pool

    private func fill() {
        while !isStopping && warm.count + filling < configuration.poolSize {
            filling += 1
            Task {
                do {
                    let sandbox = try await makeSandbox()
                    filling -= 1
                    if isStopping { discard(sandbox) } else { warm.append(sandbox) }
                } catch {
                    // Tried again at the next round; a claim that needs one meets the error itself.
                    await pause(milliseconds: 200)
                    filling -= 1
                }
            }
        }
    }

    private func makeSandbox() async throws -> WarmSandbox {
        guard let slot = slots.take() else {
            throw EngineError(.exhausted, "no address is left in \(configuration.subnet)")
        }
        epoch += 1
        let identity = slots.identity(slot: slot, epoch: epoch)
        let id = "sb-" + Self.randomText(6)
        let provisioner = host.provisioner
        hub.learn(
            EventHub.Known(
                epoch: epoch,
                context: DecisionContext(
                    sandbox: SandboxReference(id: id, name: id), bootTime: 0,
                    uidBase: Provisioner.firstUID + slot * Provisioner.uidCount, uidCount: Provisioner.uidCount
                ),
                policies: [:]
            ),
            slot: slot
        )
        do {
            return try await making.run { try provisioner.make(id: id, identity: identity) }
        } catch {
            hub.forget(slot: slot)
            slots.give(back: slot)
            throw EngineError(.internal, "no sandbox could be made", detail: ["\(error)"])
        }
    }

    private static func randomText(_ count: Int) -> String {
        let alphabet = Array("abcdefghijkmnpqrstuvwxyz23456789")
        return String((0..<count).map { _ in alphabet[Int.random(in: 0..<alphabet.count)] })
    }

    private func discard(_ sandbox: WarmSandbox) {
        pending += 1
        let provisioner = host.provisioner
        Task {
            do {
                try await destroying.run { try provisioner.destroy(sandbox) }
                slots.give(back: sandbox.identity.slot)
            } catch {
                // The slot stays taken: something of the old tenant may live on.
                host.report("sandbox \(sandbox.id) could not be destroyed: \(error)")
            }
            hub.forget(slot: sandbox.identity.slot)
            pending -= 1
        }
    }

    // MARK: life of a sandbox

    /// Claims a sandbox and starts its command. Returns when the command's first instruction is about to run.
    public func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        try check(spec)
        let policyMap = try policyMap(spec.policy)
        let claimed: WarmSandbox
        if let ready = warm.popLast() {
            warmStarts += 1
            claimed = ready
        } else {
            coldStarts += 1
            claimed = try await makeSandbox()
        }
        let name = spec.name ?? claimed.id
        guard !isStopping, !live.values.contains(where: { $0.name == name }) else {
            discard(claimed)
            throw isStopping
                ? EngineError(.exhausted, "corrald is stopping") : EngineError(.conflict, "the name \(name) is taken")
        }
        let sandbox = LiveSandbox(
            warm: claimed, name: name, spec: spec, createdAt: Clock.realtime(), image: spec.image ?? "host",
            policyMap: policyMap
        )
        live[claimed.id] = sandbox
        hub.rename(sandbox.reference, slot: claimed.identity.slot)
        emit(.sandbox(.created), sandbox)
        do {
            try claim(sandbox)
            try await start(sandbox)
        } catch {
            destroy(sandbox, cause: .removed)
            throw error
        }
        fill()
        return info(sandbox)
    }

    private func check(_ spec: SandboxSpec) throws {
        if isStopping { throw EngineError(.exhausted, "corrald is stopping") }
        if let image = spec.image, image != "host" {
            throw EngineError(.invalidRequest, "image \(image) is not known; there is \"host\"")
        }
        guard let program = spec.command.arguments.first, !program.isEmpty else {
            throw EngineError(.invalidRequest, "command is empty")
        }
        if spec.command.keepCapabilities || spec.command.noSeccomp, !configuration.allowTestSwitches {
            throw EngineError(.forbidden, "test switches are not allowed by this daemon")
        }
        if let name = spec.name {
            let allowed = name.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x41...0x5a).contains($0) || (0x61...0x7a).contains($0)
                    || [0x5f, 0x2e, 0x2d].contains($0)
            }
            let first = name.utf8.first ?? 0x2d
            guard allowed, (1...63).contains(name.utf8.count), ![0x5f, 0x2e, 0x2d].contains(first) else {
                throw EngineError(.invalidRequest, "name must be 1 to 63 of [a-zA-Z0-9_.-], the first alphanumeric")
            }
            if live.values.contains(where: { $0.name == name }) {
                throw EngineError(.conflict, "the name \(name) is taken")
            }
        }
    }

    /// Equal policies share one map.
    private func policyMap(_ policy: Policy?) throws -> PolicyMap {
        guard let policy else { return host.provisioner.denyAll }
        if let map = compiled[policy] { return map }
        let context = HostContext(
            hostAddresses: try host.provisioner.network.addresses(),
            sandboxPools: [configuration.subnet, configuration.subnet6]
        )
        policyNumber += 1
        let map = try PolicyMap(policy.compile(host: context), number: policyNumber)
        // A host's addresses may change: kept only as long as some sandbox lives under it.
        compiled[policy] = map
        return map
    }

    private func claim(_ sandbox: LiveSandbox) throws {
        let slot = sandbox.warm.identity.slot
        if let policy = sandbox.spec.policy {
            hub.learn(
                policy: PolicyReference(name: policy.name, generation: 1), number: sandbox.policyMap.number, slot: slot
            )
        }
        try host.provisioner.hooks.apply(sandbox.policyMap, to: slot)
        let limits = sandbox.spec.limits
        try sandbox.warm.cgroup.apply(
            CgroupLimits(cpu: limits.cpu, memoryBytes: limits.memoryBytes, pids: limits.pids), pid: sandbox.warm.hostPid
        )
        emit(.sandbox(.claimed), sandbox)
        listen(to: sandbox)
    }

    private func start(_ sandbox: LiveSandbox) async throws {
        let command = sandbox.spec.command
        var environment = [
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home/user",
            "LANG": "C.UTF-8", "HOSTNAME": sandbox.id,
        ]
        environment.merge(sandbox.spec.policy?.env ?? [:]) { $1 }
        environment.merge(command.environment) { $1 }
        let settled = environment
        let session: CommandSession = try await withCheckedThrowingContinuation { continuation in
            sandbox.started = continuation
            do {
                try sandbox.warm.channel.exec(
                    tag: 1, arguments: command.arguments, environment: settled,
                    workingDirectory: command.workingDirectory ?? "/home/user", stdin: command.stdin,
                    keepCapabilities: command.keepCapabilities, seccomp: command.noSeccomp ? [] : seccomp,
                    upperBytes: sandbox.spec.limits.diskBytes ?? 0, openFiles: 0
                )
            } catch {
                sandbox.started = nil
                continuation.resume(
                    throwing: EngineError(.invalidRequest, "the command could not be sent", detail: ["\(error)"])
                )
            }
        }
        sandbox.session = session
        if let timeout = sandbox.spec.limits.timeout, case .running = sandbox.state {
            let id = sandbox.id
            sandbox.timeout = Task { [weak self] in
                try? await Task.sleep(for: timeout)
                if !Task.isCancelled { await self?.timeOut(id, after: timeout) }
            }
        }
    }

    private func timeOut(_ id: String, after timeout: Duration) {
        guard let sandbox = live[id], case .running = sandbox.state else { return }
        let milliseconds =
            UInt64(max(0, timeout.components.seconds)) * 1000
            + UInt64(max(0, timeout.components.attoseconds)) / 1_000_000_000_000_000
        emit(.limit(LimitReached(.timeout, value: milliseconds)), sandbox)
        end(sandbox, cause: .timeout)
    }

    /// Kills every process; init's socket then tells that they are gone.
    private func end(_ sandbox: LiveSandbox, cause: CommandResult.Cause) {
        if sandbox.endCause == nil { sandbox.endCause = cause }
        sandbox.warm.cgroup.killAll()
    }

    // MARK: what corral-init says

    private func listen(to sandbox: LiveSandbox) {
        let id = sandbox.id
        poller.notify([(sandbox.warm.channel.descriptor, .readable)]) { [weak self] in
            guard let self else { return }
            Task { await self.hear(id) }
        }
    }

    private func hear(_ id: String) {
        guard let sandbox = live[id] else { return }
        do {
            while let message = try sandbox.warm.channel.receive(timeoutMilliseconds: 0) {
                guard handle(message, sandbox) else { return }
            }
            listen(to: sandbox)
        } catch {
            host.report("sandbox \(id): \(error)")
            initIsGone(sandbox)
        }
    }

    /// False when nothing more will come.
    private func handle(_ message: InitMessage, _ sandbox: LiveSandbox) -> Bool {
        switch message {
        case .hello:
            break
        case .started(_, _, let stdin, let stdout, let stderr):
            let startedAt = Clock.realtime()
            sandbox.state = .running(startedAt: startedAt)
            emit(.sandbox(.started(command: sandbox.spec.command.arguments)), sandbox)
            let waiting = sandbox.started
            sandbox.started = nil
            waiting?.resume(
                with: Result {
                    let session = try CommandSession(
                        pipes: CommandSession.Pipes(stdin: stdin, stdout: stdout, stderr: stderr), poller: poller
                    )
                    sandbox.session = session
                    return session
                }
            )
        case .execFailed(_, let number, let stage):
            let program = sandbox.spec.command.arguments.first ?? ""
            let text = "\(program): \(KernelError.describe(number))"
            let kind: EngineError.Kind =
                stage != "execve" ? .internal : number == ENOENT ? .commandNotFound : .commandNotExecutable
            sandbox.started?.resume(
                throwing: EngineError(kind, text, detail: stage == "execve" ? [] : ["stage: \(stage)"]))
            sandbox.started = nil
        case .exited(_, let status, _, _, _):
            commandEnded(sandbox, status: status)
        case .closed:
            initIsGone(sandbox)
            return false
        }
        return true
    }

    private func commandEnded(_ sandbox: LiveSandbox, status: Int32) {
        let signal = status & 0x7f
        var result = CommandResult(
            exitCode: signal == 0 ? status >> 8 & 0xff : 128 + signal, cause: signal == 0 ? .exited : .signalled
        )
        if let cause = sandbox.endCause {
            result = CommandResult(exitCode: cause == .timeout ? 124 : 137, cause: cause)
        }
        conclude(sandbox, result)
        // What the command left behind goes with it.
        sandbox.warm.cgroup.killAll()
    }

    private func initIsGone(_ sandbox: LiveSandbox) {
        sandbox.started?.resume(throwing: EngineError(.internal, "the sandbox ended before its command started"))
        sandbox.started = nil
        let cause = sandbox.endCause ?? .signalled
        conclude(sandbox, CommandResult(exitCode: cause == .timeout ? 124 : 137, cause: cause))
    }

    private func conclude(_ sandbox: LiveSandbox, _ result: CommandResult) {
        guard case .running(let startedAt) = sandbox.state else { return }
        sandbox.timeout?.cancel()
        let kills = sandbox.warm.cgroup.oomKills()
        if kills > 0 { emit(.limit(LimitReached(.oom, value: sandbox.spec.limits.memoryBytes)), sandbox) }
        sandbox.state = .exited(startedAt: startedAt, exitedAt: Clock.realtime(), result: result)
        emit(.sandbox(.exited(exitCode: result.exitCode)), sandbox)
        sandbox.session?.finish(result)
        guard sandbox.spec.autoRemove, !sandbox.isAttached else { return }
        // Its output has to be read first; a client that never comes does not keep it for ever.
        let id = sandbox.id
        Task { [weak self] in
            try? await Task.sleep(for: .seconds(30))
            await self?.reap(id)
        }
    }

    private func reap(_ id: String) {
        guard let sandbox = live[id], !sandbox.isAttached else { return }
        destroy(sandbox, cause: .removed)
    }

    private func destroy(_ sandbox: LiveSandbox, cause: CommandResult.Cause) {
        guard !sandbox.isBeingDestroyed else { return }
        sandbox.isBeingDestroyed = true
        if sandbox.endCause == nil { sandbox.endCause = cause }
        sandbox.timeout?.cancel()
        if case .running = sandbox.state { conclude(sandbox, CommandResult(exitCode: 137, cause: cause)) }
        sandbox.session?.finish(CommandResult(exitCode: 137, cause: cause))
        emit(.sandbox(.destroyed), sandbox)
        live[sandbox.id] = nil
        if let policy = sandbox.spec.policy, !live.values.contains(where: { $0.policyMap === sandbox.policyMap }) {
            compiled[policy] = nil
        }
        discard(sandbox.warm)
    }

    // MARK: what callers ask

    /// By id, unique prefix of an id, or name.
    public func sandbox(_ reference: String) async throws -> SandboxInfo {
        info(try find(reference))
    }

    private func find(_ reference: String) throws -> LiveSandbox {
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

    private func info(_ sandbox: LiveSandbox) -> SandboxInfo {
        let state: SandboxInfo.State =
            switch sandbox.state {
            case .claimed: .claimed
            case .running(let startedAt): .running(startedAt: startedAt)
            case .exited(let startedAt, let exitedAt, let result):
                .exited(startedAt: startedAt, exitedAt: exitedAt, result: result)
            }
        let values = host.provisioner.hooks.counters(of: sandbox.warm.identity.slot)
        var counters = SandboxCounters()
        counters.allowed = values.allowed
        counters.denied = values.denied
        counters.packetsOut = values.packetsOut
        counters.bytesOut = values.bytesOut
        counters.packetsIn = values.packetsIn
        counters.bytesIn = values.bytesIn
        counters.events = values.seq
        counters.eventsLost = values.lost
        return SandboxInfo(
            id: sandbox.id, name: sandbox.name, state: state, image: sandbox.image,
            policyName: sandbox.spec.policy?.name ?? "deny-all", policyGeneration: sandbox.spec.policy == nil ? 0 : 1,
            policyAudits: sandbox.spec.policy?.mode == .audit, command: sandbox.spec.command.arguments,
            ipv4: sandbox.warm.identity.ipv4, ipv6: sandbox.warm.identity.ipv6, hostPid: sandbox.warm.hostPid,
            createdAt: sandbox.createdAt, counters: counters, autoRemove: sandbox.spec.autoRemove
        )
    }

    /// The one set of streams of the sandbox's command. `conflict` when another caller holds it.
    public func attach(_ reference: String) async throws -> CommandStreams {
        let sandbox = try find(reference)
        guard let session = sandbox.session else {
            throw EngineError(.conflict, "sandbox \(sandbox.name) has no running command")
        }
        guard !sandbox.isAttached else {
            throw EngineError(.conflict, "another client is attached to sandbox \(sandbox.name)")
        }
        sandbox.isAttached = true
        let holder = session.take()
        let id = sandbox.id
        return CommandStreams(
            output: CommandOutput(session: session, holder: holder),
            writeStdin: { try await session.write($0, holder: holder) },
            closeStdin: { session.closeStdin(holder: holder) },
            signal: { [weak self] in try await self?.kill(id, signal: $0) },
            detach: { [weak self] in
                session.release(holder: holder)
                await self?.detached(id)
            }
        )
    }

    private func detached(_ id: String) {
        guard let sandbox = live[id], sandbox.isAttached else { return }
        sandbox.isAttached = false
        if sandbox.spec.autoRemove, case .exited = sandbox.state { destroy(sandbox, cause: .removed) }
    }

    /// Sends `signal` to the command's process group; SIGKILL ends the sandbox as a whole.
    public func kill(_ reference: String, signal: Int32) async throws {
        let sandbox = try find(reference)
        guard case .running = sandbox.state else {
            throw EngineError(.conflict, "sandbox \(sandbox.name) is not running")
        }
        if signal == SIGKILL {
            end(sandbox, cause: .signalled)
        } else {
            try sandbox.warm.channel.signal(tag: 1, signal)
        }
    }

    /// Destroys a sandbox. `conflict` while its command runs, unless `force`.
    public func remove(_ reference: String, force: Bool) async throws {
        let sandbox = try find(reference)
        if case .running = sandbox.state, !force {
            throw EngineError(.conflict, "sandbox \(sandbox.name) is running; kill it first, or force")
        }
        destroy(sandbox, cause: .removed)
    }

    /// Events from now on, oldest first, after the filter. A reader that falls more than `buffer` events behind loses the
    /// newest, and is told how many by a `lost` event.
    public func events(matching filter: EventFilter, buffer: Int) async -> AsyncStream<Event> {
        hub.subscribe(filter, buffer: buffer)
    }

    public func pool() async -> PoolState {
        PoolState(
            target: configuration.poolSize, warm: warm.count, filling: filling, inUse: live.count,
            coldStarts: coldStarts,
            warmStarts: warmStarts
        )
    }

    /// What this host can do. Asks the kernel each time.
    public func doctor() async -> [HostCheck] {
        host.checks()
    }

    // MARK: events

    private func emit(_ body: Event.Body, _ sandbox: LiveSandbox) {
        hub.publish(
            Event(
                time: Clock.realtime(), seq: host.provisioner.hooks.nextSequence(of: sandbox.warm.identity.slot),
                sandbox: sandbox.reference, body: body
            )
        )
    }

    private func reportKernelLosses() {
        for sandbox in live.values {
            let lost = host.provisioner.hooks.counters(of: sandbox.warm.identity.slot).lost
            guard lost > sandbox.lostReported else { continue }
            let count = lost - sandbox.lostReported
            sandbox.lostReported = lost
            hub.publish(
                Event(
                    time: Clock.realtime(), seq: 0, sandbox: sandbox.reference,
                    body: .lost(Loss(count: count, place: .kernel))
                )
            )
        }
    }
}
