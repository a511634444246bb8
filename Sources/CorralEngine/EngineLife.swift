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
        try spec.validate(under: configuration)
        try admit(spec)
        // A policy that does not compile costs no sandbox.
        var policyMap = try await policyMap(for: spec.policy)
        try await prepareTrace(for: spec.policy?.trace ?? .none)
        let syscallFilter = try await syscallFilter(for: spec.policy)
        let claimed: WarmSandbox
        let begun = ContinuousClock.now
        let isWarm = !warm.isEmpty
        if let ready = warm.popLast() {
            warmStarts += 1
            claimed = ready
        } else {
            coldStarts += 1
            claimed = try await makeSandbox()
        }
        do {
            // The host may have changed since. Nothing is awaited from here until it is in force.
            policyMap = try await self.policyMap(for: spec.policy)
        } catch {
            discard(claimed)
            throw error
        }
        let name = spec.name ?? claimed.id
        guard !isStopping, !live.values.contains(where: { $0.name == name }) else {
            discard(claimed)
            throw isStopping
                ? EngineError(.exhausted, "corrald is stopping") : EngineError(.conflict, "the name \(name) is taken")
        }
        let sandbox = LiveSandbox(
            warm: claimed, name: name, spec: spec, createdAt: Clock.realtime(), image: spec.image ?? "host",
            policyMap: policyMap, syscallFilter: syscallFilter
        )
        live[claimed.id] = sandbox
        hub.rename(sandbox.reference, slot: claimed.identity.slot)
        names.add(claimed.identity, sandbox.reference, claimed.refusals)
        emit(.sandbox(.created), sandbox)
        do {
            try claim(sandbox)
            try await publish(sandbox)
            try await start(sandbox)
        } catch {
            destroy(sandbox, cause: .removed)
            throw error
        }
        (isWarm ? warmStartTimes : coldStartTimes).record(duration: ContinuousClock.now - begun)
        fill()
        return info(sandbox)
    }

    func admit(_ spec: SandboxSpec) throws {
        if isStopping { throw EngineError(.exhausted, "corrald is stopping") }
        if let image = spec.image, image != "host" {
            throw EngineError(.invalidRequest, "image \(image) is not known; there is \"host\"")
        }
        if let name = spec.name, live.values.contains(where: { $0.name == name }) {
            throw EngineError(.conflict, "the name \(name) is taken")
        }
    }

    private func publish(_ sandbox: LiveSandbox) async throws {
        for publication in sandbox.spec.publish {
            do {
                try host.provisioner.hooks.publish(publication.sandboxPort, .tcp, of: sandbox.warm.identity)
                let forwarder = try await PortForwarder.start(
                    address: publication.hostAddress, hostPort: publication.hostPort, to: sandbox.warm.identity.ipv4,
                    port: publication.sandboxPort
                )
                sandbox.published.append((publication, forwarder))
            } catch {
                throw EngineError(
                    .conflict, "port \(publication.hostPort) of the host could not be published",
                    detail: [(error as? IOError).map { KernelError.describe($0.errnoCode) } ?? "\(error)"])
            }
        }
    }

    func claim(_ sandbox: LiveSandbox) throws {
        try putInForce(sandbox.policyMap, on: sandbox)
        let limits = sandbox.spec.limits
        try sandbox.warm.cgroup.apply(
            CgroupLimits(cpu: limits.cpu, memoryBytes: limits.memoryBytes, pids: limits.pids), pid: sandbox.warm.hostPid
        )
        try retrace(sandbox)
        emit(.sandbox(.claimed), sandbox)
        listen(to: sandbox)
    }

    func start(_ sandbox: LiveSandbox) async throws {
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
                    keepCapabilities: command.keepCapabilities, seccomp: command.noSeccomp ? [] : sandbox.syscallFilter,
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

    func timeOut(_ id: String, after timeout: Duration) {
        guard let sandbox = live[id], case .running = sandbox.state else { return }
        let milliseconds =
            UInt64(max(0, timeout.components.seconds)) * 1000
            + UInt64(max(0, timeout.components.attoseconds)) / 1_000_000_000_000_000
        emit(.limit(LimitReached(.timeout, value: milliseconds)), sandbox)
        end(sandbox, cause: .timeout)
    }

    /// Kills every process; init's socket then tells that they are gone.
    func end(_ sandbox: LiveSandbox, cause: CommandResult.Cause) {
        if sandbox.endCause == nil { sandbox.endCause = cause }
        sandbox.warm.cgroup.killAll()
    }

    func conclude(_ sandbox: LiveSandbox, _ result: CommandResult) {
        guard case .running(let startedAt) = sandbox.state else { return }
        reportBudgets()
        sandbox.timeout?.cancel()
        let kills = sandbox.warm.cgroup.oomKills()
        if kills > 0 { emit(.limit(LimitReached(.oom, value: sandbox.spec.limits.memoryBytes)), sandbox) }
        sandbox.state = .exited(startedAt: startedAt, exitedAt: Clock.realtime(), result: result)
        emit(.sandbox(.exited(exitCode: result.exitCode)), sandbox)
        report(result, of: sandbox)
        finishWatchers(of: sandbox)
        guard sandbox.spec.autoRemove, !sandbox.isAttached else { return }
        // Its output has to be read first; a client that never comes does not keep it for ever.
        let id = sandbox.id
        Task { [weak self] in
            try? await Task.sleep(for: .seconds(30))
            await self?.reap(id)
        }
    }

    /// Ends the command's streams, once the ring's thread has told of all that was refused.
    private func report(_ result: CommandResult, of sandbox: LiveSandbox) {
        guard let session = sandbox.session else { return }
        let (hooks, slot, refusals) = (host.provisioner.hooks, sandbox.warm.identity.slot, sandbox.warm.refusals)
        let denied = hooks.counters(of: slot).denied
        func finish() {
            var result = result
            result.refusals = refusals.summary
            session.finish(result)
        }
        guard refusals.heard < denied else { return finish() }
        Task {
            // Some refusals are counted and not told one by one, so that this may wait in vain.
            for _ in 0..<20 where refusals.heard < denied { await pause(milliseconds: 2) }
            finish()
        }
    }

    func reap(_ id: String) {
        guard let sandbox = live[id], !sandbox.isAttached else { return }
        destroy(sandbox, cause: .removed)
    }

    func destroy(_ sandbox: LiveSandbox, cause: CommandResult.Cause) {
        guard !sandbox.isBeingDestroyed else { return }
        sandbox.isBeingDestroyed = true
        if sandbox.endCause == nil { sandbox.endCause = cause }
        sandbox.timeout?.cancel()
        if case .running = sandbox.state { conclude(sandbox, CommandResult(exitCode: 137, cause: cause)) }
        if case .claimed = sandbox.state { report(CommandResult(exitCode: 137, cause: cause), of: sandbox) }
        reportKernelLosses(of: sandbox)
        emit(.sandbox(.destroyed), sandbox)
        live[sandbox.id] = nil
        names.remove(sandbox.warm.identity)
        nameService.resolver.forget(ResolverClient(sandbox.warm.identity))
        for (publication, forwarder) in sandbox.published {
            host.provisioner.hooks.unpublish(publication.sandboxPort, .tcp, of: sandbox.warm.identity)
            Task { await forwarder.stop() }
        }
        discard(sandbox.warm)
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

    func detached(_ id: String) {
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
}
