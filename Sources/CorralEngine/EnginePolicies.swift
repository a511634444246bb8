internal import CorralEvents
internal import CorralKernel
public import CorralPolicy

extension Engine {
    /// Compiled when no equal policy is. Nil stands for the deny-all policy.
    func policyMap(for policy: Policy?) async throws -> PolicyMap {
        guard let policy else { return host.provisioner.denyAll }
        while true {
            // Asked each time: who starts under it must be fenced, whoever was before.
            if let map = policies.map(for: policy) {
                try host.requirePathHooks(for: policy)
                return map
            }
            let context = policies.host
            let number = policies.takeNumber()
            reserveNumbers()
            let host = host
            let map = try await compiling.run {
                try host.requirePathHooks(for: policy)
                return try PolicyMap(policy.compile(host: context), number: number, in: host.provisioner.hooks.programs)
            }
            if let settled = policies.add(map, for: policy, host: context) { return settled }
        }
    }

    /// Compiles every policy in force anew when the host's addresses, which are reserved, are no longer what they were.
    func hostAddressesChanged() async {
        do {
            let host = host
            let context = try await making.run { try host.context() }
            guard policies.change(host: context) else { return }
        } catch {
            host.report("the host's addresses could not be read: \(error)")
            return
        }
        for entry in enforced.values {
            do {
                let map = try await policyMap(for: entry.applied.policy)
                if enforced[entry.id] === entry { try putInForce(map, on: entry) }
            } catch {
                host.report(
                    "cgroup \(entry.cgroup.path): nothing is allowed any more, its policy does not compile: \(error)")
                try? host.provisioner.hooks.apply(host.provisioner.denyAll, to: entry.identity.slot)
            }
        }
        var changed: [LiveSandbox] = []
        for sandbox in live.values {
            guard let applied = sandbox.applied else { continue }
            do {
                let map = try await policyMap(for: applied.policy)
                // Another policy may have come meanwhile, or the sandbox have gone.
                guard live[sandbox.id] === sandbox, sandbox.applied?.generation == applied.generation else { continue }
                try putInForce(map, on: sandbox)
                remember(sandbox)
                changed.append(sandbox)
            } catch {
                host.report("sandbox \(sandbox.id): nothing is allowed any more, its policy does not compile: \(error)")
                try? host.provisioner.hooks.apply(host.provisioner.denyAll, to: sandbox.warm.identity.slot)
            }
        }
        // No sandbox waits for its new rules until the connections of others are ended.
        for sandbox in changed where live[sandbox.id] === sandbox { await endRefusedConnections(of: sandbox) }
    }

    /// Replaces the policy of a sandbox: from one packet to the next the new one decides. Connections that it refuses are
    /// ended; whatever else it refuses is dropped. Its system calls hold for commands that start from now on: a filter that is on a
    /// process stays. Limits on resources, files and environment stay those of the start.
    /// - Parameter text: what the policy was read from.
    public func apply(_ policy: Policy, from text: PolicyText, to reference: String) async throws -> SandboxInfo {
        let id = try find(reference).id
        let map = try await policyMap(for: policy)
        let syscallFilter = try await syscallFilter(for: policy)
        try await prepareTrace(for: policy.trace)
        let sandbox = try find(id)
        if case .exited = sandbox.state {
            throw EngineError(.conflict, "the command of sandbox \(sandbox.name) has ended")
        }
        let before = sandbox.applied
        let mapBefore = sandbox.policyMap
        sandbox.applied = LiveSandbox.AppliedPolicy(
            policy: policy, text: text, generation: (before?.generation ?? 0) + 1)
        do {
            try retrace(sandbox)
            // Before it is in force, so that no daemon puts an earlier one back.
            sandbox.policyMap = map
            try rememberNow(sandbox)
            crashPoint("apply.written")
            try putInForce(map, on: sandbox)
            crashPoint("apply.in-force")
            sandbox.budgetsReported = []
            sandbox.syscallFilter = syscallFilter
            tell(
                applied: policy, generation: sandbox.applied?.generation ?? 0, after: before?.policy, of: sandbox)
        } catch {
            sandbox.applied = before
            sandbox.policyMap = mapBefore
            try? retrace(sandbox)
            remember(sandbox)
            throw EngineError("the policy could not be put in force", because: error)
        }
        await endRefusedConnections(of: sandbox)
        crashPoint("apply.connections")
        return info(sandbox)
    }

    /// Connections that its policy does not permit any more are reset, and looked for once again a little later: the hook may
    /// have permitted one before the policy changed that became a connection only after the first look.
    private func endRefusedConnections(of sandbox: LiveSandbox) async {
        let (hooks, warm, host) = (host.provisioner.hooks, sandbox.warm, host)
        let look: @Sendable () -> Void = {
            do {
                // The programs answer, so that what is ended here is what they would drop.
                _ = try SandboxConnections(pid: warm.hostPid).abort { address, port throws(KernelError) in
                    let destination = Destination(address: address, proto: .tcp, port: port)
                    return try hooks.ask(destination, of: warm.identity).verdict == .deny
                }
            } catch {
                host.report("sandbox \(warm.id): refused connections are dropped, but not reset: \(error)")
            }
        }
        try? await ending.run(look)
        Task {
            try? await Task.sleep(for: .seconds(1))
            guard live[sandbox.id] === sandbox else { return }
            if case .exited = sandbox.state { return }
            try? await ending.run(look)
        }
    }

    enum Change {
        case swap
        /// Nothing has run in it yet, under the deny-all policy.
        case first
        /// The kernel has it already.
        case isInForce
    }

    /// One pointer swap.
    func putInForce(_ map: PolicyMap, on sandbox: LiveSandbox, how: Change = .swap) throws {
        let slot = sandbox.warm.identity.slot
        if let applied = sandbox.applied {
            let reference = PolicyReference(name: applied.policy.name, generation: applied.generation)
            hub.learn(
                policy: EventHub.Terms(reference: reference, policy: applied.policy, host: policies.host),
                number: map.number, slot: slot
            )
        }
        let terms = sandbox.applied.map { applied in
            SandboxNames.Terms(
                policy: applied.policy, map: map, generation: applied.generation, host: policies.host)
        }
        let hooks = host.provisioner.hooks
        try hooks.apply(SandboxBudget(sandbox.applied?.policy.budgets), to: slot)
        crashPoint("policy.budget")
        try names.change(terms, of: sandbox.warm.identity) {
            switch how {
            case .swap: try hooks.apply(map, to: slot)
            case .first: if map !== host.provisioner.denyAll { try hooks.applyToUnused(map, to: slot) }
            case .isInForce: break
            }
        }
        sandbox.policyMap = map
    }

    /// Hears of changes from now on.
    func watchHostAddresses() {
        poller.notify([(host.addressChanges.descriptor, .readable)]) { [weak self] in
            guard let self else { return }
            Task {
                _ = self.host.addressChanges.drain()
                await self.hostAddressesChanged()
                await self.watchHostAddresses()
            }
        }
    }
}

extension SandboxBudget {
    init(_ budgets: EgressBudgets?) {
        self.init(
            bytes: budgets?.bytes, connections: budgets?.connections,
            bytesPerSecond: budgets?.bitsPerSecond.map { max(1, $0 / 8) }
        )
    }
}
