internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import CorralPolicy
internal import HTTPTypes

extension SandboxSpec {
    /// What a request asks for, over what its policy says. Throws `Failure` and `PolicyError`.
    init(_ request: CreateSandboxRequest) throws {
        let policy = try request.policy.map { try Policy(yaml: $0.yaml, file: $0.file) }
        self.init(
            name: request.name, image: request.image ?? policy?.files.image, policy: policy,
            command: CommandSpec(
                arguments: request.command,
                environment: request.env ?? [:],
                workingDirectory: request.workingDirectory, stdin: request.stdin ?? false,
                keepCapabilities: request.testSwitches?.keepCapabilities ?? false,
                noSeccomp: request.testSwitches?.noSeccomp ?? false
            ),
            autoRemove: request.autoRemove ?? true,
            limits: try Limits(policy?.limits, overrides: request.limits),
            publish: try (request.publish ?? []).map(PortPublication.init)
        )
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
        self.init(hostAddress: address, hostPort: hostPort, sandboxPort: sandboxPort)
    }
}

extension SandboxSpec.Limits {
    fileprivate init(_ policy: ResourceLimits?, overrides: LimitOverrides?) throws(Failure) {
        self.init(
            cpu: policy?.cpu, memoryBytes: policy?.memory, pids: policy?.pids, diskBytes: policy?.disk,
            timeout: policy?.timeout
        )
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
                    sandboxPort: Int($0.sandboxPort))
            }
        )
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
            target: state.target, warm: state.warm, filling: state.filling, inUse: state.inUse,
            coldStarts: state.coldStarts, warmStarts: state.warmStarts
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
