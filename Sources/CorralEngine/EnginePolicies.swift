internal import CorralEvents
internal import CorralKernel
public import CorralPolicy

extension Engine {
    /// Compiled when no equal policy is. Nil stands for the deny-all policy.
    func policyMap(for policy: Policy?) async throws -> PolicyMap {
        guard let policy else { return host.provisioner.denyAll }
        while true {
            if let map = policies.map(for: policy) { return map }
            let context = policies.host
            let number = policies.takeNumber()
            let map = try await compiling.run { try PolicyMap(policy.compile(host: context), number: number) }
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
        for sandbox in live.values {
            guard let applied = sandbox.applied else { continue }
            do {
                let map = try await policyMap(for: applied.policy)
                // Another policy may have come meanwhile, or the sandbox have gone.
                guard live[sandbox.id] === sandbox, sandbox.applied?.generation == applied.generation else { continue }
                try putInForce(map, on: sandbox)
            } catch {
                host.report("sandbox \(sandbox.id): nothing is allowed any more, its policy does not compile: \(error)")
                try? host.provisioner.hooks.apply(host.provisioner.denyAll, to: sandbox.warm.identity.slot)
            }
        }
    }

    /// Replaces the policy of a sandbox: from one packet to the next the new one decides. Connections that it refuses are
    /// ended; whatever else it refuses is dropped. Limits on resources, files and environment stay those of the start.
    public func apply(_ policy: Policy, to reference: String) async throws -> SandboxInfo {
        let id = try find(reference).id
        let map = try await policyMap(for: policy)
        let sandbox = try find(id)
        if case .exited = sandbox.state {
            throw EngineError(.conflict, "the command of sandbox \(sandbox.name) has ended")
        }
        let before = sandbox.applied
        sandbox.applied = LiveSandbox.AppliedPolicy(policy: policy, generation: (before?.generation ?? 0) + 1)
        do {
            try putInForce(map, on: sandbox)
        } catch {
            sandbox.applied = before
            throw EngineError(.internal, "the policy could not be put in force", detail: ["\(error)"])
        }
        let (hooks, warm, host) = (host.provisioner.hooks, sandbox.warm, host)
        try await ending.run {
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
        return info(sandbox)
    }

    /// One pointer swap.
    func putInForce(_ map: PolicyMap, on sandbox: LiveSandbox) throws {
        let slot = sandbox.warm.identity.slot
        if let applied = sandbox.applied {
            let reference = PolicyReference(name: applied.policy.name, generation: applied.generation)
            hub.learn(policy: reference, number: map.number, slot: slot)
        }
        try host.provisioner.hooks.apply(map, to: slot)
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
