internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// Going on with what a daemon left that was killed. Until this is done no event is read, no name resolved and no caller
/// answered; the kernel enforces throughout.
extension Engine {
    /// To be called once, before anything is made.
    func adoptSandboxes() async throws {
        let records = host.inherited
        let hooks = host.provisioner.hooks
        let occupants = try hooks.occupants()
        // Those of enforced cgroups too: their hooks of the last daemon still ask for them.
        slots.reserve(Set(occupants.map(\.slot)))
        let numbers = host.records.numbers()
        epoch = max(
            numbers?.epoch ?? 0,
            occupants.map { $0.epoch & ~SandboxIdentity.unprovenBit }.max() ?? 0, records.map(\.epoch).max() ?? 0)
        policies.begin(above: max(numbers?.policy ?? 0, records.compactMap(\.policy?.number).max() ?? 0))
        reserveNumbers()
        let provisioner = host.provisioner
        let interfaces = records.isEmpty ? [:] : try await making.run { try provisioner.interfaces() }
        for record in records.sorted(by: { $0.epoch < $1.epoch }) {
            do {
                try await adopt(record, interfaces)
            } catch {
                host.report("sandbox \(record.id) cannot be taken over and is removed: \(error)")
                let sandbox = live.removeValue(forKey: record.id)
                if let sandbox { names.remove(sandbox.warm.identity) }
                hub.forget(slot: record.slot)
                host.records.remove(record.id, sandbox?.recordLife)
            }
        }
        let kept = Set(live.keys)
        let host = host
        try await making.run { try host.removeLeftovers(except: kept) }
        inheritedPolicies = [:]
        if !records.isEmpty { host.report("\(live.count) of \(records.count) sandboxes taken over") }
    }

    /// Forgets the slots of what is gone. `enforced`: nothing is needed any more of those that the last daemon enforced.
    func sweepAdopted(enforced isComplete: Bool) throws {
        let hooks = host.provisioner.hooks
        var kept = Dictionary(
            uniqueKeysWithValues: live.values.map { ($0.warm.identity.slot, $0.warm.identity.epoch) })
        for entry in enforced.values { kept[entry.identity.slot] = entry.identity.epoch }
        let occupants = try hooks.occupants()
        if !isComplete {
            for other in occupants where other.ifindex == 0 && !other.isUnproven && kept[other.slot] == nil {
                kept[other.slot] = other.epoch
            }
        }
        try hooks.sweep(keeping: kept)
        try hooks.sweepPathRules(keeping: Set(live.values.map(\.policyMap.number)))
        for other in occupants where kept[other.slot] == nil { slots.give(back: other.slot) }
        try host.records.sweep()
    }

    private func adopt(_ recorded: SandboxRecord, _ interfaces: [String: UInt32]) async throws {
        let isOutdated = host.records.isOutdated(recorded.id)
        let record = isOutdated ? try broughtUpToDate(recorded) : recorded
        guard let ipv4 = IPAddress(record.ipv4), let ipv6 = IPAddress(record.ipv6) else {
            throw EngineError(.internal, "its record has no addresses")
        }
        var identity = slots.identity(slot: record.slot, epoch: record.epoch)
        (identity.ipv4, identity.ipv6) = (ipv4, ipv6)
        let provisioner = host.provisioner
        let denied = provisioner.hooks.counters(of: identity.slot).denied
        let refusals = try RefusalLog(continuing: provisioner.refusalFile(of: record.id), heard: denied)
        let base = try fileBase(for: record)
        crashPoint("adopt.begun")
        let layout = base.layout
        let adopted = try await makers.run { [identity] in
            try provisioner.adopt(record, identity, refusals: refusals, layout: layout, interfaces: interfaces)
        }
        let sandbox = try await revive(record, adopted.sandbox, base)
        live[sandbox.id] = sandbox
        do {
            try names.adopt(identity, sandbox.reference, refusals)
        } catch {
            host.report("sandbox \(sandbox.id): its names have to be resolved again: \(error)")
            names.add(identity, sandbox.reference, refusals)
        }
        try await resumePolicy(of: sandbox, as: record.policy)
        crashPoint("adopt.policy")
        nameService.resolver.resume(
            ResolverClient(identity), queries: provisioner.hooks.counters(of: identity.slot).dnsQueries)
        try takeUp(sandbox, adopted, isOutdated: isOutdated)
        await publishAgain(record.published, of: sandbox)
        crashPoint("adopt.published")
        if !adopted.hasEnded, !sandbox.spec.autoRemove {
            sandbox.files = try? SandboxFiles(pid: sandbox.warm.hostPid, channel: sandbox.warm.channel)
        }
        try? retrace(sandbox)
        try rememberNow(sandbox)
        crashPoint("adopt.written")
    }

    /// A record that its sandbox has had one change since. What the kernel tells is as it is now.
    private func broughtUpToDate(_ recorded: SandboxRecord) throws -> SandboxRecord {
        let hooks = host.provisioner.hooks
        var record = recorded
        record.nextTag += 1
        record.lostReported = max(record.lostReported, hooks.counters(of: record.slot).lost)
        let number = try hooks.policy(of: record.slot, namePorts: [:]).number
        if number == host.provisioner.denyAll.number {
            record.policy = nil
        } else if number != record.policy?.number {
            // Throws when it is not written down: nobody could say what it permits.
            _ = try inheritedPolicy(number)
            record.policy = SandboxRecord.AppliedPolicy(
                number: number, generation: (record.policy?.generation ?? 0) + 1)
        }
        return record
    }

    /// Read once for all the sandboxes that are under it.
    struct InheritedPolicy: Sendable {
        var record: PolicyRecord
        var policy: Policy
    }

    private func inheritedPolicy(_ number: UInt32) throws -> InheritedPolicy {
        if let known = inheritedPolicies[number] { return known }
        let record = try host.records.policy(number)
        let policy = try Policy(yaml: record.text.yaml, file: record.text.file)
        let found = InheritedPolicy(record: record, policy: policy)
        inheritedPolicies[number] = found
        return found
    }

    private func fileBase(for record: SandboxRecord) throws -> FileBase {
        var base = FileBase(image: record.image, digest: record.digest, layout: host.provisioner.hostImage)
        base.snapshots = record.snapshots
        if !record.digest.isEmpty {
            // What it stands on is mounted; of the image only what later commands begin with is asked for.
            if let layout = try host.images.layout(of: record.digest) { base.layout = layout }
            if let configuration = try host.images.configuration(of: record.digest) {
                base.configuration = configuration
            }
        }
        return base
    }

    private func revive(_ record: SandboxRecord, _ warm: WarmSandbox, _ base: FileBase) async throws -> LiveSandbox {
        var policy: Policy?
        var text: PolicyText?
        if let number = record.policy?.number {
            let kept = try inheritedPolicy(number)
            policy = kept.policy
            text = kept.record.text
        }
        let spec = SandboxSpec(
            name: record.name, image: record.image, policy: nil, command: record.command,
            autoRemove: record.autoRemove, limits: record.limits,
            mounts: record.mounts.map { .init(source: $0.source, target: $0.target, readOnly: $0.readOnly) })
        let sandbox = LiveSandbox(
            warm: warm, name: record.name, spec: spec, createdAt: record.createdAt, image: record.image,
            policyMap: host.provisioner.denyAll, syscallFilter: try await syscallFilter(for: policy))
        if let policy, let text {
            sandbox.applied = LiveSandbox.AppliedPolicy(
                policy: policy, text: text, generation: record.policy?.generation ?? 1)
        }
        sandbox.base = base
        sandbox.deadline = record.deadline
        sandbox.lostReported = record.lostReported
        sandbox.nextTag = record.nextTag
        sandbox.isDiskLimited = true
        for command in record.commands { sandbox.commands[command.tag] = command.live }
        sandbox.state = record.state
        learn(warm.identity, sandbox.reference, warm.refusals)
        return sandbox
    }

    /// The compiled policy that decides goes on when it is what this daemon would make, so that connections stay whatever has
    /// become of the names they were opened by. Otherwise the policy is compiled anew and takes its place.
    private func resumePolicy(of sandbox: LiveSandbox, as recorded: SandboxRecord.AppliedPolicy?) async throws {
        let (hooks, slot) = (host.provisioner.hooks, sandbox.warm.identity.slot)
        guard let applied = sandbox.applied, let recorded else {
            // An earlier version's may say less than this one's, under the same number.
            return try putInForce(host.provisioner.denyAll, on: sandbox)
        }
        let kept = try inheritedPolicy(recorded.number).record
        let inForce = try hooks.policy(of: slot, namePorts: kept.namePorts)
        if inForce.number == recorded.number, kept.compiler == PolicyRecord.compiler,
            kept.host == PolicyRecord.describe(policies.host),
            let map = policies.add(inForce, for: applied.policy, host: policies.host), map.number == inForce.number
        {
            if !applied.policy.files.rules.isEmpty { try map.keepPathRules(in: hooks.programs) }
            return try putInForce(map, on: sandbox, how: .isInForce)
        }
        let map = try await policyMap(for: applied.policy)
        try putInForce(map, on: sandbox, how: .swap)
    }

    /// Its commands, as its record and its corral-init know them.
    private func takeUp(_ sandbox: LiveSandbox, _ adopted: Provisioner.Adopted, isOutdated: Bool) throws {
        if case .claimed = sandbox.state {
            // Nobody was told that it began. One that waits for commands has nothing that could have begun.
            guard !adopted.hasEnded, !adopted.isFrozen else { throw Self.unfinished }
            if sandbox.main == nil {
                sandbox.state = .running(startedAt: Clock.realtime())
                emit(.sandbox(.started(command: [])), sandbox)
            }
        }
        // A pause that was cut short, or one for a snapshot.
        if case .running(let startedAt) = sandbox.state, adopted.isFrozen {
            if isOutdated {
                sandbox.state = .paused(startedAt: startedAt)
            } else {
                try sandbox.warm.cgroup.thaw()
            }
        }
        if case .paused(let startedAt) = sandbox.state, !adopted.isFrozen, !adopted.hasEnded {
            sandbox.state = .running(startedAt: startedAt)
        }
        for message in adopted.messages where live[sandbox.id] === sandbox { _ = handle(message, sandbox) }
        if !adopted.isFrozen {
            for command in sandbox.commands.values {
                try settle(command, in: sandbox, hasEnded: adopted.hasEnded, isOutdated: isOutdated)
            }
        }
        if case .claimed = sandbox.state { throw Self.unfinished }
        if case .exited(_, _, let result) = sandbox.state {
            sandbox.ending.finish(result)
            try? sandbox.killAll()
            removeIfUnwanted(sandbox, after: .seconds(30))
        } else if adopted.hasEnded {
            initIsGone(sandbox)
        } else {
            listen(to: sandbox)
            armTimeout(of: sandbox)
        }
    }

    private static let unfinished = EngineError(.conflict, "it was being made and had not begun")

    /// What corral-init had nothing to say about.
    private func settle(
        _ command: LiveCommand, in sandbox: LiveSandbox, hasEnded: Bool, isOutdated: Bool
    ) throws {
        guard command.session == nil else { return }
        if isOutdated, !hasEnded, case .running = command.state {
            // It has ended since, and how stood in the record that was damaged.
            guard !command.isMain else {
                throw EngineError(.internal, "its record is damaged, and how its command ended is not known")
            }
            sandbox.commands[command.tag] = nil
            return
        }
        let result = CommandResult(exitCode: 137, cause: .removed)
        switch command.state {
        case .starting:
            if command.isMain { throw Self.unfinished }
            sandbox.commands[command.tag] = nil
        case .running:
            command.session = try emptySession(of: command)
            // `initIsGone` tells of them all.
            if hasEnded { return }
            if command.isMain { conclude(sandbox, result) } else { conclude(command, result, sandbox) }
        case .exited(_, _, let result):
            command.session = try emptySession(of: command)
            command.session?.finish(result)
        }
    }

    private func emptySession(of command: LiveCommand) throws -> CommandSession {
        try CommandSession(
            pipes: CommandSession.Pipes(), poller: poller, log: command.isMain ? OutputLog() : nil, drains: true)
    }

    private func publishAgain(_ publications: [SandboxRecord.Publication], of sandbox: LiveSandbox) async {
        for recorded in publications {
            do {
                guard let publication = recorded.publication else {
                    throw EngineError(.internal, "its record has no address")
                }
                try await publishAgain(publication, of: sandbox)
            } catch {
                host.report("sandbox \(sandbox.id): port \(recorded.hostPort) is not published any more: \(error)")
            }
        }
    }

    /// The kernel still lets in what comes by the port: that ends where nobody is there who would bring or answer it.
    private func publishAgain(_ publication: PortPublication, of sandbox: LiveSandbox) async throws {
        let hooks = host.provisioner.hooks
        func end() { hooks.unpublish(publication.sandboxPort, publication.proto, of: sandbox.warm.identity) }
        guard sandbox.aliveSince != nil else { return end() }
        do {
            try await publish(publication, of: sandbox)
        } catch {
            end()
            throw error
        }
    }
}
