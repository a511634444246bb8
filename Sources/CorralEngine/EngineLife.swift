internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Glibc
internal import Metrics
internal import NIOCore

/// From a claim to the end.
extension Engine {
    /// Claims a sandbox and starts its command. Returns when the command's first instruction is about to run.
    public func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        let base = try fileBase(for: spec)
        let use = begin(using: base)
        defer { end(use) }
        var spec = spec
        try base.complete(&spec)
        try spec.validate(under: configuration)
        try admit(spec)
        var timing = StartTiming()
        // A policy that does not compile costs no sandbox.
        var policyMap = try await policyMap(for: spec.policy)
        try await prepareTrace(for: spec.policy?.trace ?? .none)
        let syscallFilter = try await syscallFilter(for: spec.policy)
        timing.end(.policy)
        let begun = ContinuousClock.now
        let (claimed, isWarm) = try await takeSandbox(base)
        do {
            // The host may have changed since. Nothing is awaited from here until it is in force.
            policyMap = try await self.policyMap(for: spec.policy)
        } catch {
            discard(claimed)
            throw error
        }
        timing.isWarm = isWarm
        timing.end(.claim)
        let name = spec.name ?? claimed.id
        guard !isStopping, !live.values.contains(where: { $0.name == name }) else {
            discard(claimed)
            throw isStopping
                ? EngineError(.exhausted, "corrald is stopping") : EngineError(.conflict, "the name \(name) is taken")
        }
        var kept = spec
        kept.secrets = []
        let sandbox = LiveSandbox(
            warm: claimed, name: name, spec: kept, createdAt: Clock.realtime(), image: base.image,
            policyMap: policyMap, syscallFilter: syscallFilter
        )
        sandbox.base = base
        live[claimed.id] = sandbox
        hub.rename(sandbox.reference, slot: claimed.identity.slot)
        names.add(claimed.identity, sandbox.reference, claimed.refusals)
        emit(.sandbox(.created), sandbox)
        crashPoint("create.claimed")
        do {
            try claim(sandbox, &timing)
            // What it wrote is to be there after its end.
            if !spec.autoRemove {
                sandbox.files = try SandboxFiles(pid: claimed.hostPid, channel: claimed.channel)
            }
            try await publish(sandbox)
            try deliver(spec.secrets, to: sandbox, tag: LiveCommand.mainTag)
            crashPoint("create.secrets")
            timing.end(.bind)
            // While it starts: until both are done nobody is told of it.
            sandbox.deadline = spec.limits.timeout.map(Self.deadline)
            let first = picture(of: sandbox)
            async let isWritten: Void = write(first)
            crashPoint("create.being-written")
            try await start(sandbox)
            crashPoint("create.started")
            timing.end(.exec)
            try await isWritten
            crashPoint("create.written")
        } catch {
            destroy(sandbox, cause: .removed)
            throw error
        }
        let took = ContinuousClock.now - begun
        if isWarm { warmTimes.record(took) } else { coldTimes.record(took) }
        (isWarm ? warmStartTimes : coldStartTimes).record(duration: took)
        fill()
        var info = info(sandbox)
        info.timing = timing
        return info
    }

    func admit(_ spec: SandboxSpec) throws {
        if isStopping { throw EngineError(.exhausted, "corrald is stopping") }
        if let name = spec.name, live.values.contains(where: { $0.name == name }) {
            throw EngineError(.conflict, "the name \(name) is taken")
        }
    }

    private func publish(_ sandbox: LiveSandbox) async throws {
        for publication in sandbox.spec.publish { try await publish(publication, of: sandbox) }
    }

    func publish(_ publication: PortPublication, of sandbox: LiveSandbox) async throws {
        do {
            try host.provisioner.hooks.publish(
                publication.sandboxPort, publication.proto, of: sandbox.warm.identity)
            crashPoint("publish.permitted")
            sandbox.published.append((publication, try await forward(publication, to: sandbox.warm.identity)))
            crashPoint("publish.bound")
        } catch {
            throw EngineError(
                "port \(publication.hostPort) of the host could not be published", because: error, otherwise: .conflict)
        }
    }

    private func forward(
        _ publication: PortPublication, to identity: SandboxIdentity
    ) async throws -> any PortForwarder {
        guard publication.proto == .udp else {
            return try await ConnectionForwarder.start(
                address: publication.hostAddress, hostPort: publication.hostPort, to: identity.ipv4,
                port: publication.sandboxPort)
        }
        let hooks = host.provisioner.hooks
        return try await DatagramForwarder.start(
            address: publication.hostAddress, hostPort: publication.hostPort, to: identity.ipv4,
            port: publication.sandboxPort
        ) { peer, port in
            hooks.endPublished(.udp, at: publication.sandboxPort, from: peer, port, of: identity)
        }
    }

    func claim(_ sandbox: LiveSandbox, _ timing: inout StartTiming) throws {
        do {
            try sandbox.warm.cgroup.apply(sandbox.spec.limits.cgroup, pid: sandbox.warm.hostPid)
        } catch {
            guard error.errno == ENOTSUP else { throw error }
            throw EngineError(.invalidRequest, "limits: this host cannot keep one", detail: ["\(error)"])
        }
        timing.end(.limits)
        crashPoint("create.limits")
        try putInForce(sandbox.policyMap, on: sandbox, how: .first)
        crashPoint("create.policy")
        try retrace(sandbox)
        emit(.sandbox(.claimed), sandbox)
        listen(to: sandbox)
    }

    func start(_ sandbox: LiveSandbox) async throws {
        if sandbox.spec.command.arguments.isEmpty {
            sandbox.state = .running(startedAt: Clock.realtime())
            emit(.sandbox(.started(command: [])), sandbox)
        } else {
            let main = LiveCommand(tag: LiveCommand.mainTag, id: LiveCommand.mainID, spec: sandbox.spec.command)
            sandbox.commands[main.tag] = main
            try await launch(main, in: sandbox)
        }
        armTimeout(of: sandbox)
    }

    private static func deadline(after timeout: Duration) -> UInt64 {
        Clock.boottime() &+ UInt64(clamping: timeout.milliseconds) &* 1_000_000
    }

    /// An earlier daemon may have set the deadline.
    func armTimeout(of sandbox: LiveSandbox) {
        guard let timeout = sandbox.spec.limits.timeout, sandbox.aliveSince != nil else { return }
        let now = Clock.boottime()
        let deadline = sandbox.deadline ?? Self.deadline(after: timeout)
        sandbox.deadline = deadline
        let rest = Duration.nanoseconds(Int64(clamping: deadline > now ? deadline - now : 0))
        let id = sandbox.id
        sandbox.timeout = Task { [weak self] in
            try? await Task.sleep(for: rest)
            if !Task.isCancelled { await self?.timeOut(id, after: timeout) }
        }
    }

    func timeOut(_ id: String, after timeout: Duration) {
        guard let sandbox = live[id], sandbox.aliveSince != nil else { return }
        emit(.limit(LimitReached(.timeout, value: UInt64(clamping: timeout.milliseconds))), sandbox)
        end(sandbox, cause: .timeout)
    }

    /// Kills every process; init's socket then tells that they are gone.
    func end(_ sandbox: LiveSandbox, cause: CommandResult.Cause) {
        if sandbox.endCause == nil { sandbox.endCause = cause }
        do {
            try sandbox.killAll()
            crashPoint("end.killed")
        } catch {
            let id = sandbox.id
            host.report("sandbox \(id) could not be ended, trying again: \(error)")
            Task {
                try? await Task.sleep(for: .seconds(1))
                if let sandbox = live[id], sandbox.aliveSince != nil { end(sandbox, cause: cause) }
            }
        }
    }

    /// The sandbox's main command has ended, and everything in it with that.
    func conclude(_ sandbox: LiveSandbox, _ result: CommandResult) {
        guard let startedAt = sandbox.aliveSince else { return }
        reportBudgets()
        sandbox.timeout?.cancel()
        reportLimits(of: sandbox)
        sandbox.state = .exited(startedAt: startedAt, exitedAt: Clock.realtime(), result: result)
        crashPoint("end.exited")
        emit(.sandbox(.exited(exitCode: result.exitCode)), sandbox)
        abandonStarts(of: sandbox)
        for command in sandbox.commands.values where !command.isMain {
            conclude(command, CommandResult(exitCode: 137, cause: .removed), sandbox)
        }
        report(result, of: sandbox)
        finishWatchers(of: sandbox)
        // Before anything is ended of it that could tell again.
        if !sandbox.isBeingDestroyed {
            do { try rememberNow(sandbox) } catch { host.report("\(error)") }
            crashPoint("end.written")
        }
        removeIfUnwanted(sandbox, after: sandbox.spec.command.detached ? .zero : .seconds(30))
    }

    /// Removes a sandbox that is to leave nothing behind. Its output has to be read first; a client that never comes does
    /// not keep it for ever.
    func removeIfUnwanted(_ sandbox: LiveSandbox, after delay: Duration) {
        guard sandbox.spec.autoRemove, sandbox.main?.readers ?? 0 == 0 else { return }
        let id = sandbox.id
        Task { [weak self] in
            if delay > .zero { try? await Task.sleep(for: delay) }
            await self?.reap(id)
        }
    }

    /// Ends the main command's streams, once the ring's thread has told of all that was refused.
    private func report(_ result: CommandResult, of sandbox: LiveSandbox) {
        let (main, ending) = (sandbox.main, sandbox.ending)
        if let main, case .running(let startedAt) = main.state {
            main.state = .exited(startedAt: startedAt, exitedAt: Clock.realtime(), result: result)
        }
        let (hooks, slot, refusals) = (host.provisioner.hooks, sandbox.warm.identity.slot, sandbox.warm.refusals)
        let denied = hooks.counters(of: slot).denied
        let session = main?.session
        @Sendable func finish() {
            var result = result
            result.refusals = refusals.summary
            session?.finish(result)
            ending.finish(result)
        }
        guard refusals.heard < denied else { return finish() }
        Task {
            // Some refusals are counted and not told one by one, so that this may wait in vain.
            for _ in 0..<20 where refusals.heard < denied { await pause(milliseconds: 2) }
            finish()
        }
    }

    func reap(_ id: String) {
        guard let sandbox = live[id], sandbox.main?.readers ?? 0 == 0 else { return }
        destroy(sandbox, cause: .removed)
    }

    func destroy(_ sandbox: LiveSandbox, cause: CommandResult.Cause) {
        guard !sandbox.isBeingDestroyed else { return }
        sandbox.isBeingDestroyed = true
        if sandbox.endCause == nil { sandbox.endCause = cause }
        sandbox.timeout?.cancel()
        let result = CommandResult(exitCode: 137, cause: cause)
        abandonStarts(of: sandbox)
        if sandbox.aliveSince != nil { conclude(sandbox, result) }
        if case .claimed = sandbox.state { report(result, of: sandbox) }
        reportKernelLosses(of: sandbox)
        emit(.sandbox(.destroyed), sandbox)
        live[sandbox.id] = nil
        crashPoint("remove.begun")
        forget(sandbox)
        crashPoint("remove.forgotten")
        names.remove(sandbox.warm.identity)
        nameService.resolver.forget(ResolverClient(sandbox.warm.identity))
        // Those too that nothing could be bound for.
        for publication in sandbox.spec.publish + sandbox.published.map(\.publication) {
            host.provisioner.hooks.unpublish(publication.sandboxPort, publication.proto, of: sandbox.warm.identity)
            crashPoint("remove.unpublished")
        }
        for (_, forwarder) in sandbox.published { Task { await forwarder.stop() } }
        // Tried again when it is destroyed.
        try? sandbox.killAll()
        crashPoint("remove.killed")
        discard(sandbox.warm)
    }

    /// Sends `signal` to the process group of the main command, or of `command`; SIGKILL to the main one ends the sandbox as
    /// a whole.
    public func kill(_ reference: String, command: String?, signal: Int32) async throws {
        let sandbox = try find(reference)
        guard sandbox.aliveSince != nil else {
            throw EngineError(.conflict, "sandbox \(sandbox.name) is not running")
        }
        let target = try command.map { try find(command: $0, in: sandbox) } ?? sandbox.main
        if target?.isMain ?? true, signal == SIGKILL { return end(sandbox, cause: .signalled) }
        guard case .running = sandbox.state else {
            throw EngineError(.conflict, "sandbox \(sandbox.name) is paused; resume it first, or send KILL")
        }
        guard let target else { throw EngineError(.conflict, "sandbox \(sandbox.name) has no main command") }
        guard !target.hasEnded else { throw EngineError(.conflict, "command \(target.id) has ended") }
        try sandbox.warm.channel.signal(tag: target.tag, signal)
    }

    /// Destroys a sandbox. `conflict` while its command runs, unless `force`.
    public func remove(_ reference: String, force: Bool) async throws {
        let sandbox = try find(reference)
        if sandbox.aliveSince != nil, !force {
            throw EngineError(.conflict, "sandbox \(sandbox.name) is running; kill it first, or force")
        }
        destroy(sandbox, cause: .removed)
    }
}

extension Duration {
    /// Whole ones, as far as they can be counted.
    var milliseconds: Int64 {
        let (seconds, attoseconds) = components
        let (product, isTooLarge) = seconds.multipliedReportingOverflow(by: 1000)
        guard !isTooLarge else { return seconds < 0 ? .min : .max }
        return product.addingReportingOverflow(attoseconds / 1_000_000_000_000_000).partialValue
    }
}
