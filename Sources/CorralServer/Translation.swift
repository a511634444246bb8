internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import CorralPolicy
internal import HTTPTypes

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

extension SandboxSpec {
    /// What a request asks for, over what its policy says. Throws `Failure` and `PolicyError`.
    init(_ request: CreateSandboxRequest) throws {
        if request.command?.isEmpty == true {
            throw Failure.invalidRequest("command: empty; leave it out for a sandbox that waits for commands")
        }
        let policy = try request.policy.map { try Policy(yaml: $0.yaml, file: $0.file) }
        let waitsForCommands = request.command == nil && request.imageCommand != true
        self.init(
            name: request.name, image: request.image ?? policy?.files.image, policy: policy,
            policyText: request.policy.map { PolicyText(file: $0.file, yaml: $0.yaml) },
            command: CommandSpec(
                arguments: request.command ?? [],
                environment: request.env ?? [:],
                workingDirectory: request.workingDirectory, stdin: request.stdin ?? false,
                user: try request.user.map(CorralEngine.CommandUser.init),
                terminal: try request.terminal.map(CorralEngine.TerminalSize.init),
                detached: request.detach ?? waitsForCommands,
                keepCapabilities: request.testSwitches?.keepCapabilities ?? false,
                noSeccomp: request.testSwitches?.noSeccomp ?? false
            ),
            autoRemove: request.autoRemove ?? true,
            limits: try Limits(policy?.limits, overrides: request.limits),
            publish: try (request.publish ?? []).map(PortPublication.init),
            mounts: (policy?.files.mounts ?? [])
                + (request.mounts ?? []).map {
                    .init(source: $0.source, target: $0.target, readOnly: $0.readOnly ?? true)
                },
            snapshot: request.from, runsImageCommand: request.imageCommand ?? false
        )
        for (name, text) in (request.secrets ?? [:]).sorted(by: { $0.key < $1.key }) {
            guard let content = Data(base64Encoded: text) else {
                throw Failure.invalidRequest("secrets: \(name.prefix(64)): expected base64")
            }
            secrets.append(try Secret(name: name, content: content))
        }
    }
}

extension CommandSpec {
    init(_ request: ExecRequest) throws(Failure) {
        self.init(
            arguments: request.command, environment: request.env ?? [:], workingDirectory: request.workingDirectory,
            stdin: request.stdin ?? false, user: try request.user.map(CorralEngine.CommandUser.init),
            terminal: try request.terminal.map(CorralEngine.TerminalSize.init), detached: request.detach ?? false)
    }
}

extension CorralEngine.CommandUser {
    fileprivate init(_ user: CorralAPI.CommandUser) throws(Failure) {
        guard let uid = UInt32(exactly: user.uid), let gid = UInt32(exactly: user.gid ?? user.uid) else {
            throw .invalidRequest("user: expected numbers of 0 to \(Self.largest)")
        }
        self.init(uid: uid, gid: gid)
    }
}

extension CorralEngine.TerminalSize {
    fileprivate init(_ size: CorralAPI.TerminalSize) throws(Failure) {
        guard let rows = UInt16(exactly: size.rows), let columns = UInt16(exactly: size.columns) else {
            throw .invalidRequest("terminal: expected rows and columns of 0 to 65535")
        }
        self.init(rows: rows, columns: columns)
    }
}

extension SandboxCommand {
    init(_ info: CommandInfo) {
        var startedAt: Int64?
        var exitedAt: Int64?
        var result: CommandResult?
        let state: State
        switch info.state {
        case .starting: state = .starting
        case .running(let started): (state, startedAt) = (.running, started)
        case .exited(let started, let exited, let how):
            (state, startedAt, exitedAt, result) = (.exited, started, exited, how)
        }
        self.init(
            id: info.id, sandbox: info.sandbox, command: info.command, pid: info.pid, state: state,
            terminal: info.hasTerminal, startedAt: startedAt.map(RFC3339.text), exitedAt: exitedAt.map(RFC3339.text),
            exitCode: result?.exitCode)
    }
}

extension CorralAPI.StartTimes {
    /// Moments in nanoseconds. What the engine's stages leave of the time before it was asked is `request`.
    init(_ timing: StartTiming, receivedAt: UInt64, askedAt: UInt64) {
        func microseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds / 100) / 10 }
        self.init(
            warm: timing.isWarm, receivedAt: microseconds(receivedAt), answeredAt: microseconds(StartTiming.now()),
            stages: [Stage(name: "request", microseconds: microseconds(askedAt &- receivedAt))]
                + timing.stages.map {
                    Stage(name: $0.stage.rawValue, microseconds: microseconds($0.nanoseconds))
                })
    }
}

extension PortPublication {
    fileprivate init(_ port: PublishedPort) throws(Failure) {
        var address: IPAddress?
        if let text = port.hostAddress {
            guard let parsed = IPAddress(text) else {
                throw .invalidRequest("publish: hostAddress: expected an IPv4 or IPv6 address")
            }
            address = parsed
        }
        guard let hostPort = UInt16(exactly: port.hostPort ?? 0) else {
            throw .invalidRequest("publish: hostPort: expected 0 to 65535")
        }
        guard let sandboxPort = UInt16(exactly: port.sandboxPort), sandboxPort > 0 else {
            throw .invalidRequest("publish: sandboxPort: expected 1 to 65535")
        }
        self.init(
            hostAddress: address, hostPort: hostPort, sandboxPort: sandboxPort,
            proto: port.protocol == .udp ? .udp : .tcp)
    }
}

extension SandboxSpec.Limits {
    fileprivate init(_ policy: ResourceLimits?, overrides: LimitOverrides?) throws(Failure) {
        self.init(
            cpu: policy?.cpu, memoryBytes: policy?.memory, pids: policy?.pids, diskBytes: policy?.disk,
            timeout: policy?.timeout
        )
        cpuWeight = policy?.cpuWeight
        openFiles = policy?.openFiles
        ioRead = policy?.ioRead
        ioWrite = policy?.ioWrite
        if let weight = overrides?.cpuWeight {
            guard let weight = UInt32(exactly: weight), (1...10_000).contains(weight) else {
                throw .invalidRequest("limits.cpuWeight: expected 1 to 10000")
            }
            cpuWeight = weight
        }
        if let text = overrides?.disk {
            guard let bytes = ByteSize.parse(text), bytes >= 1 << 20, bytes <= UInt64(Int64.max) else {
                throw .invalidRequest("limits.disk: expected a size of at least 1MiB, such as 512MiB")
            }
            diskBytes = bytes
        }
        if let count = overrides?.openFiles {
            guard let files = UInt64(exactly: count), (16...1_048_576).contains(files) else {
                throw .invalidRequest("limits.openFiles: expected 16 to 1048576")
            }
            openFiles = files
        }
        if let cpu = overrides?.cpu {
            guard cpu.isFinite, cpu > 0, cpu <= 4096 else {
                throw .invalidRequest("limits.cpu: expected a number of CPUs above 0, such as 0.5")
            }
            self.cpu = cpu
        }
        if let text = overrides?.memory {
            guard let bytes = ByteSize.parse(text), bytes > 0 else {
                throw .invalidRequest("limits.memory: expected a size such as 256MiB")
            }
            memoryBytes = bytes
        }
        if let count = overrides?.pids {
            guard let pids = UInt32(exactly: count), (1...4_194_304).contains(pids) else {
                throw .invalidRequest("limits.pids: expected 1 to 4194304")
            }
            self.pids = pids
        }
        if let text = overrides?.timeout {
            guard let duration = DurationText.parse(text), duration > .zero else {
                throw .invalidRequest("limits.timeout: expected a duration such as 30s or 5m")
            }
            timeout = duration
        }
    }
}

extension Sandbox {
    init(_ info: SandboxInfo) {
        let state: SandboxState
        var startedAt: Int64?
        var exitedAt: Int64?
        var exitCode: Int32?
        switch info.state {
        case .claimed: state = .claimed
        case .running(let started): (state, startedAt) = (.running, started)
        case .paused(let started): (state, startedAt) = (.paused, started)
        case .exited(let started, let exited, let result):
            (state, startedAt, exitedAt, exitCode) = (.exited, started, exited, result.exitCode)
        case .destroyed: state = .destroyed
        }
        self.init(
            id: info.id, name: info.name, state: state, image: info.image,
            policy: AppliedPolicy(
                name: info.policyName, generation: info.policyGeneration, mode: info.policyAudits ? "audit" : "enforce"
            ),
            command: info.command, ipv4: info.ipv4.description, ipv6: info.ipv6.description, hostPid: info.hostPid,
            createdAt: RFC3339.text(info.createdAt), startedAt: startedAt.map(RFC3339.text),
            exitedAt: exitedAt.map(RFC3339.text),
            exitCode: exitCode, counters: Counters(info.counters),
            budgets: Budgets(
                bytes: .init(used: info.counters.bytesOut, limit: info.budgets.bytes),
                connections: .init(used: info.counters.connections, limit: info.budgets.connections),
                dnsQueries: .init(used: info.dnsQueries, limit: info.budgets.dnsQueries),
                rate: info.budgets.bitsPerSecond
            ),
            published: info.published.map {
                PublishedPort(
                    hostAddress: $0.hostAddress?.description, hostPort: Int($0.hostPort),
                    sandboxPort: Int($0.sandboxPort), protocol: $0.proto == .udp ? .udp : .tcp)
            }
        )
        runningCommands = info.runningCommands
    }
}

extension Sandbox.Counters {
    init(_ counters: SandboxCounters) {
        self.init(
            allowed: counters.allowed, denied: counters.denied, packetsOut: counters.packetsOut,
            bytesOut: counters.bytesOut, packetsIn: counters.packetsIn, bytesIn: counters.bytesIn,
            events: counters.events, eventsLost: counters.eventsLost, connections: counters.connections,
            throttled: counters.throttled, exhausted: counters.exhausted
        )
    }
}

extension PoolStatus {
    init(_ state: PoolState) {
        self.init(
            target: state.target, low: state.low, warm: state.warm, filling: state.filling, inUse: state.inUse,
            coldStarts: state.coldStarts, warmStarts: state.warmStarts, destroying: state.destroying,
            shapes: state.shapes.map {
                Shape(
                    image: $0.image, warm: $0.warm, filling: $0.filling, inUse: $0.inUse, coldStarts: $0.coldStarts,
                    warmStarts: $0.warmStarts)
            },
            warmStart: state.warmTimes.map { StartTimes(p50: $0.p50, p90: $0.p90, p99: $0.p99) },
            coldStart: state.coldTimes.map { StartTimes(p50: $0.p50, p90: $0.p90, p99: $0.p99) }
        )
    }
}

extension JournalStatus {
    init(_ statistics: JournalStatistics, _ engine: any SandboxEngine) {
        self.init(
            directory: engine.configuration.journalDirectory, record: statistics.headNumber, hash: statistics.headHash,
            files: statistics.files, bytes: statistics.bytesOnDisk, queued: statistics.queued, lost: statistics.lost,
            failing: statistics.isFailing
        )
    }
}

extension DoctorReport.Check {
    init(_ check: HostCheck) {
        let answer: DoctorReport.Answer
        switch check.answer {
        case .yes: answer = .yes
        case .no: answer = .no
        case .couldNotTell: answer = .unknown
        }
        self.init(
            feature: check.feature, answer: answer, detail: check.detail, without: check.without,
            remedy: check.remedy, needed: check.isNeeded)
    }
}
