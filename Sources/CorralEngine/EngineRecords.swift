internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy

/// What is written down of sandboxes, so that the next daemon can go on with them.
extension Engine {
    /// A sandbox as it is now, and the policy it is under.
    struct Picture: Sendable {
        var record: SandboxRecord
        var policy: PolicyRecord?
        var number: UInt64
        var life: RecordLife
    }

    func picture(of sandbox: LiveSandbox) -> Picture {
        sandbox.pictures += 1
        let (identity, spec) = (sandbox.warm.identity, sandbox.spec)
        var state = sandbox.state
        if sandbox.isPausedForCopy, case .paused(let startedAt) = state { state = .running(startedAt: startedAt) }
        var commands = sandbox.commands.values.sorted { $0.tag < $1.tag }.map(SandboxRecord.Command.init)
        if sandbox.main == nil, !spec.command.arguments.isEmpty {
            commands.append(
                SandboxRecord.Command(
                    LiveCommand(tag: LiveCommand.mainTag, id: LiveCommand.mainID, spec: spec.command)))
        }
        var command = spec.command
        command.environment = (spec.policy?.env ?? [:]).merging(command.environment) { $1 }
        let record = SandboxRecord(
            control: InitChannel.version, id: sandbox.id, name: sandbox.name, createdAt: sandbox.createdAt,
            state: state, slot: identity.slot,
            epoch: identity.epoch, ipv4: identity.ipv4.description, ipv6: identity.ipv6.description,
            process: sandbox.warm.process, interface: sandbox.warm.interface, image: sandbox.image,
            digest: sandbox.base?.digest ?? "", snapshots: sandbox.base?.snapshots ?? [],
            mounts: spec.mounts.map {
                SandboxRecord.Mount(source: $0.source, target: $0.target, readOnly: $0.readOnly)
            },
            policy: sandbox.applied.map {
                SandboxRecord.AppliedPolicy(number: sandbox.policyMap.number, generation: $0.generation)
            },
            limits: spec.limits, deadline: sandbox.deadline, autoRemove: spec.autoRemove,
            published: sandbox.published.map(SandboxRecord.Publication.init), command: command, commands: commands,
            nextTag: sandbox.nextTag, lostReported: sandbox.lostReported)
        let policy = sandbox.applied.map {
            PolicyRecord(
                number: sandbox.policyMap.number, text: $0.text, namePorts: sandbox.policyMap.namePorts,
                host: policies.host)
        }
        return Picture(record: record, policy: policy, number: sandbox.pictures, life: sandbox.recordLife)
    }

    /// Written when this returns. Throws `exhausted`.
    func rememberNow(_ sandbox: LiveSandbox) throws {
        try Self.write(picture(of: sandbox), to: host.records)
    }

    /// Written soon, in the order of the calls; `then` runs after that.
    func remember(_ sandbox: LiveSandbox, then: (@Sendable () -> Void)? = nil) {
        let (picture, host) = (picture(of: sandbox), host)
        Task {
            do {
                try await recording.run { try Self.write(picture, to: host.records) }
                then?()
            } catch {
                host.report("sandbox \(picture.record.id): \(error)")
            }
        }
    }

    /// Returns when it is written.
    func write(_ picture: Picture) async throws {
        let records = host.records
        try await recording.run { try Self.write(picture, to: records) }
    }

    /// What has happened already cannot be refused for want of room on a disk.
    func rememberBeforeAnswer(_ sandbox: LiveSandbox) async {
        do { try await write(picture(of: sandbox)) } catch { host.report("\(error)") }
    }

    static func write(_ picture: Picture, to records: RecordStore) throws {
        do {
            try records.write(picture.record, picture.policy, picture: picture.number, of: picture.life)
        } catch {
            throw EngineError(
                .exhausted, "sandbox \(picture.record.id) could not be written down", detail: ["\(error)"])
        }
    }

    /// Whatever is found of it from now on is a leftover.
    func forget(_ sandbox: LiveSandbox) {
        host.records.remove(sandbox.id, sandbox.recordLife)
    }

    /// Never given out before, by no daemon of this host's present run.
    func takeEpoch() -> UInt64 {
        epoch += 1
        reserveNumbers()
        return epoch
    }

    /// Some are kept in reserve, so that there is little to write.
    func reserveNumbers() {
        let reserve: UInt64 = 4096
        guard epoch >= reserved.epoch || policies.lastNumber >= reserved.policy else { return }
        let next = RecordStore.Numbers(
            epoch: epoch + reserve, policy: policies.lastNumber &+ UInt32(reserve))
        do {
            try host.records.reserve(next)
            reserved = next
        } catch {
            host.report("\(error)")
        }
    }
}

extension SandboxRecord.Command {
    init(_ command: LiveCommand) {
        self.init(
            tag: command.tag, id: command.id, arguments: command.spec.arguments,
            hasTerminal: command.spec.terminal != nil, detached: command.spec.detached, pid: command.pid,
            state: command.state.info)
    }

    /// As far as it is written down.
    var live: LiveCommand {
        let command = LiveCommand(
            tag: tag, id: id,
            spec: CommandSpec(
                arguments: arguments, terminal: hasTerminal ? TerminalSize(rows: 0, columns: 0) : nil,
                detached: detached))
        command.pid = pid
        command.state = LiveCommand.State(state)
        // Whoever was attached to it has gone with the last daemon.
        command.wasAttached = true
        return command
    }
}

extension SandboxRecord.Publication {
    init(_ publication: PortPublication, _ forwarder: any PortForwarder) {
        self.init(
            hostAddress: publication.hostAddress?.description, hostPort: forwarder.hostPort,
            sandboxPort: publication.sandboxPort, proto: publication.proto.description)
    }

    /// Nil for an address or a protocol that is none.
    var publication: PortPublication? {
        let address = hostAddress.map { IPAddress($0) }
        if case .some(nil) = address { return nil }
        guard let proto = [IPProtocol.tcp, .udp].first(where: { $0.description == proto }) else { return nil }
        return PortPublication(
            hostAddress: address ?? nil, hostPort: hostPort, sandboxPort: sandboxPort, proto: proto)
    }
}
