internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// A cgroup under a policy; the engine's actor alone touches it.
final class EnforcedCgroup {
    let id: String
    let cgroup: ForeignCgroup
    let identity: SandboxIdentity
    var text: PolicyText
    var applied: LiveSandbox.AppliedPolicy
    var policyMap: PolicyMap
    let names: CgroupNames

    init(
        id: String, cgroup: ForeignCgroup, identity: SandboxIdentity, text: PolicyText,
        applied: LiveSandbox.AppliedPolicy, policyMap: PolicyMap, names: CgroupNames
    ) {
        self.id = id
        self.cgroup = cgroup
        self.identity = identity
        self.text = text
        self.applied = applied
        self.policyMap = policyMap
        self.names = names
    }

    var reference: SandboxReference { SandboxReference(id: id, name: cgroup.path) }
}

/// Policies on cgroups that Corral did not make. They outlast the daemon: their hooks stay pinned, and the next daemon puts
/// its own on before it takes those off.
extension Engine {
    /// Puts a policy on a cgroup and everything below it, or replaces the one it has.
    public func enforce(_ text: PolicyText, on target: CgroupReference) async throws -> Enforcement {
        if isStopping { throw EngineError(.exhausted, "corrald is stopping") }
        // What stands there would be overwritten, and with it what the next daemon has to take over.
        if let enforcementDamage { throw enforcementDamage }
        let policy = try Policy(yaml: text.yaml, file: text.file)
        if let field = policy.files.rules.firstField {
            throw EngineError(.invalidRequest, "\(field): of an enforced cgroup the network alone is judged")
        }
        let cgroup = try resolve(target)
        if let known = enforced.values.first(where: { $0.cgroup == cgroup }) {
            return try await replace(known, text, policy)
        }
        let entry = try await enforce(
            text, policy, on: cgroup, id: "cg-" + Self.randomText(6), generation: 1)
        do {
            try saveEnforced()
            crashPoint("enforce.saved")
        } catch {
            release(entry)
            throw EngineError("the cgroup could not be written down", because: error)
        }
        return describe(entry)
    }

    /// By path.
    public func enforcements() async -> [Enforcement] {
        enforced.values.map(describe).sorted { $0.path < $1.path }
    }

    /// Takes the policy off. By id, or the path of the cgroup.
    public func releaseEnforcement(_ reference: String) async throws {
        guard let entry = enforced.values.first(where: { $0.id == reference || $0.cgroup.path == reference }) else {
            throw EngineError(.notFound, "no enforced cgroup \(reference)")
        }
        release(entry)
        crashPoint("release.before-save")
        try saveEnforced()
    }

    private func resolve(_ target: CgroupReference) throws -> ForeignCgroup {
        let hierarchy = host.provisioner.hierarchy
        let cgroup: ForeignCgroup
        do {
            cgroup =
                switch target {
                case .path(let path): try ForeignCgroup(path: path, hierarchy: hierarchy)
                case .pid(let pid): try ForeignCgroup(pid: pid, hierarchy: hierarchy)
                }
        } catch {
            throw EngineError(.invalidRequest, "no such cgroup", detail: ["\(error)"])
        }
        guard !cgroup.path.hasPrefix("\(hierarchy.v2)/corral/"), cgroup.path != "\(hierarchy.v2)/corral" else {
            throw EngineError(.invalidRequest, "\(cgroup.path) is Corral's own; give the sandbox a policy")
        }
        // Its resolver's own questions would be led back to it.
        if let own = try? ForeignCgroup(pid: getpid(), hierarchy: hierarchy),
            own.path == cgroup.path || own.path.hasPrefix(cgroup.path + "/")
        {
            throw EngineError(.invalidRequest, "\(cgroup.path) holds corrald itself")
        }
        return cgroup
    }

    private func enforce(
        _ text: PolicyText, _ policy: Policy, on cgroup: ForeignCgroup, id: String, generation: UInt32
    ) async throws -> EnforcedCgroup {
        let map = try await policyMap(for: policy)
        guard let slot = slots.take() else { throw EngineError(.exhausted, "no slot is left") }
        let identity = slots.identity(slot: slot, epoch: takeEpoch())
        let entry = EnforcedCgroup(
            id: id, cgroup: cgroup, identity: identity, text: text,
            applied: LiveSandbox.AppliedPolicy(policy: policy, text: text, generation: generation), policyMap: map,
            names: CgroupNames(
                identity: identity, hooks: host.provisioner.hooks, resolver: nameService.resolver)
        )
        do {
            let refusals = try RefusalLog(path: host.provisioner.refusalFile(of: id))
            hub.learn(
                EventHub.Known(
                    // Its processes are the host's, with the host's uids.
                    epoch: identity.epoch,
                    context: DecisionContext(sandbox: entry.reference, bootTime: 0, uidBase: 0, uidCount: .max),
                    policies: [
                        map.number: EventHub.Terms(
                            reference: PolicyReference(name: policy.name, generation: generation), policy: policy,
                            host: policies.host)
                    ],
                    refusals: refusals
                ),
                slot: slot
            )
            names.add(identity, entry.reference, refusals)
            try names.change(terms(of: entry, map), of: identity) {}
            // Before the hooks, so that no question goes unanswered.
            await serveNames(to: entry, under: policy)
            guard !enforced.values.contains(where: { $0.cgroup == cgroup }) else {
                throw EngineError(.conflict, "\(cgroup.path) has been put under a policy meanwhile")
            }
            try host.provisioner.hooks.enforce(map, on: cgroup, as: identity, pins: pins(of: entry))
            try host.provisioner.hooks.apply(SandboxBudget(policy.budgets), to: slot)
            crashPoint("enforce.in-force")
        } catch {
            release(entry)
            if let error = error as? EngineError { throw error }
            throw EngineError("\(cgroup.path) could not be put under the policy", because: error)
        }
        enforced[id] = entry
        return entry
    }

    private func replace(_ entry: EnforcedCgroup, _ text: PolicyText, _ policy: Policy) async throws -> Enforcement {
        let map = try await policyMap(for: policy)
        await serveNames(to: entry, under: policy)
        guard enforced[entry.id] === entry else { throw EngineError(.notFound, "the cgroup has been released") }
        let before = (entry.text, entry.applied)
        entry.applied = LiveSandbox.AppliedPolicy(
            policy: policy, text: text, generation: entry.applied.generation + 1)
        entry.text = text
        do {
            try saveEnforced()
            try putInForce(map, on: entry)
        } catch {
            (entry.text, entry.applied) = before
            try? saveEnforced()
            throw EngineError("the policy could not be put in force", because: error)
        }
        return describe(entry)
    }

    func putInForce(_ map: PolicyMap, on entry: EnforcedCgroup) throws {
        hub.learn(
            policy: EventHub.Terms(
                reference: PolicyReference(
                    name: entry.applied.policy.name, generation: entry.applied.generation),
                policy: entry.applied.policy, host: policies.host),
            number: map.number, slot: entry.identity.slot
        )
        try host.provisioner.hooks.apply(SandboxBudget(entry.applied.policy.budgets), to: entry.identity.slot)
        let (hooks, slot) = (host.provisioner.hooks, entry.identity.slot)
        try names.change(terms(of: entry, map), of: entry.identity) { try hooks.apply(map, to: slot) }
        entry.policyMap = map
    }

    private func terms(of entry: EnforcedCgroup, _ map: PolicyMap) -> SandboxNames.Terms {
        SandboxNames.Terms(
            policy: entry.applied.policy, map: map, generation: entry.applied.generation, host: policies.host)
    }

    /// Follows the processes of enforced cgroups into their network namespaces. To be called now and then.
    func serveNames() async {
        for entry in enforced.values { await serveNames(to: entry, under: entry.applied.policy) }
    }

    private func serveNames(to entry: EnforcedCgroup, under policy: Policy) async {
        guard policy.resolvesNames else { return }
        for problem in await entry.names.update(entry.cgroup.processes()) {
            host.report("enforced cgroup \(entry.cgroup.path): \(problem)")
        }
    }

    /// The hooks stay; without a resolver they refuse names.
    func stopServingNames() async {
        for entry in enforced.values { await entry.names.stop() }
    }

    private func release(_ entry: EnforcedCgroup) {
        host.provisioner.hooks.release(entry.cgroup, entry.identity, pins: pins(of: entry))
        names.remove(entry.identity)
        nameService.resolver.forget(ResolverClient(entry.identity))
        let sockets = entry.names
        Task { await sockets.stop() }
        hub.forget(slot: entry.identity.slot)
        enforced[entry.id] = nil
        slots.give(back: entry.identity.slot)
    }

    private func pins(of entry: EnforcedCgroup) -> String { "\(host.enforcedPins)/\(entry.id)" }

    private func saveEnforced() throws {
        try host.enforcements.save(
            enforced.values.map { entry in
                EnforcementStore.Record(
                    id: entry.id, path: entry.cgroup.path, generation: entry.applied.generation, policy: entry.text)
            }.sorted { $0.id < $1.id }
        )
    }

    private func describe(_ entry: EnforcedCgroup) -> Enforcement {
        Enforcement(
            id: entry.id, path: entry.cgroup.path, policyName: entry.applied.policy.name,
            policyGeneration: entry.applied.generation, policyAudits: entry.applied.policy.mode == .audit,
            counters: SandboxCounters(host.provisioner.hooks.counters(of: entry.identity.slot))
        )
    }

    /// Takes over what an earlier daemon enforced. What cannot be taken over stays under that daemon's hooks.
    /// - Returns: whether nothing is needed any more of what that daemon left for them.
    func adoptEnforced() async -> Bool {
        var isComplete = true
        let records: [EnforcementStore.Record]
        do {
            records = try host.enforcements.load()
        } catch {
            host.report("\(error); enforced cgroups stay under the hooks of the last corrald")
            enforcementDamage = error
            return false
        }
        for record in records {
            let cgroup: ForeignCgroup
            do {
                cgroup = try ForeignCgroup(path: record.path, hierarchy: host.provisioner.hierarchy)
            } catch {
                host.report("enforced cgroup \(record.path) is gone: \(error)")
                continue
            }
            do {
                let policy = try Policy(yaml: record.policy.yaml, file: record.policy.file)
                _ = try await enforce(
                    record.policy, policy, on: cgroup, id: record.id, generation: record.generation)
            } catch {
                isComplete = false
                host.report("enforced cgroup \(record.path) stays under the hooks of the last corrald: \(error)")
            }
        }
        guard isComplete else { return false }
        host.removeEarlierEnforcedPins()
        crashPoint("enforce.taken-over")
        // Those that are gone are forgotten.
        try? saveEnforced()
        return true
    }
}

extension SandboxCounters {
    init(_ values: CounterValues) {
        self.init()
        allowed = values.allowed
        denied = values.denied
        packetsOut = values.packetsOut
        bytesOut = values.bytesOut
        packetsIn = values.packetsIn
        bytesIn = values.bytesIn
        events = values.seq
        eventsLost = values.lost
        connections = values.connections
        throttled = values.throttled
        exhausted = values.exhaustedBytes &+ values.exhaustedConnections
    }
}
