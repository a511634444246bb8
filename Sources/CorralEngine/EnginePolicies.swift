internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy

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
