import CorralEngine
import CorralEvents
import CorralPolicy
import Synchronization
@testable import CorralServer

/// An engine of values: keeps what it was asked, answers what it was told.
actor FakeEngine: SandboxEngine {
    nonisolated let configuration: EngineConfiguration

    private(set) var created: [SandboxSpec] = []
    private(set) var kills: [(reference: String, command: String?, signal: Int32)] = []
    private(set) var executed: [(reference: String, spec: CommandSpec)] = []
    private(set) var attachments: [(command: String?, input: CommandStreams.Input)] = []
    private(set) var logRequests: [LogRequest] = []
    private var logged: [LogChunk] = []
    private var ended: [String: CommandResult] = [:]
    private(set) var applied: [(reference: String, policy: Policy)] = []
    private(set) var enforced: [(target: CgroupReference, entry: Enforcement)] = []
    private(set) var removals: [(reference: String, force: Bool)] = []
    private(set) var traced: [(reference: String, selection: TraceSelection)] = []
    private(set) var filters: [EventFilter] = []
    private var createError: EngineError?
    private var live: [String: SandboxInfo] = [:]
    private var streams: [String: CommandStreams] = [:]
    private var onRemove: (@Sendable (String) -> Void)?
    private var subscriptions: [AsyncStream<Event>.Continuation] = []
    private var endedSubscriptions = 0
    private(set) var histories: [HistoryRequest] = []
    private var past: [[UInt8]] = []
    private let audits = Mutex<[(record: AuditRecord, sandbox: SandboxReference?)]>([])
    private var counted = EngineStatistics(
        pool: PoolState(target: 8, warm: 7, filling: 1, inUse: 2, coldStarts: 3, warmStarts: 4))

    init(allowTestSwitches: Bool = false) {
        configuration = EngineConfiguration(
            instance: "test", stateDirectory: "/nonexistent", runDirectory: "/nonexistent",
            subnet: IPPrefix("10.213.0.0/16")!, subnet6: IPPrefix("fdc0::/64")!, poolSize: 0,
            allowTestSwitches: allowTestSwitches
        )
    }

    func fail(with error: EngineError?) { createError = error }

    func add(_ id: String, autoRemove: Bool = true, streams: CommandStreams? = nil) {
        live[id] = Self.info(id, autoRemove: autoRemove)
        self.streams[id] = streams
    }

    func whenRemoved(_ body: @escaping @Sendable (String) -> Void) { onRemove = body }

    func emit(_ event: Event) {
        for subscription in subscriptions { subscription.yield(event) }
    }

    var subscriptionsEnded: Int { endedSubscriptions }
    var subscriptionsMade: Int { subscriptions.count }

    static func info(_ id: String, autoRemove: Bool = true) -> SandboxInfo {
        SandboxInfo(
            id: id, name: id, state: .running(startedAt: 1_000_000_000), image: "host", policyName: "p",
            policyGeneration: 1,
            policyAudits: false, command: ["true"], ipv4: IPAddress("10.213.0.2")!, ipv6: IPAddress("fdc0::2")!,
            hostPid: 7,
            createdAt: 0, counters: SandboxCounters(), autoRemove: autoRemove
        )
    }

    func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        if let createError { throw createError }
        try spec.validate(under: configuration)
        created.append(spec)
        return Self.info("sb-000001", autoRemove: spec.autoRemove)
    }

    func sandbox(_ reference: String) async throws -> SandboxInfo {
        guard let info = live[reference] else { throw EngineError(.notFound, "no sandbox \(reference)") }
        return info
    }

    func sandboxes() async -> [SandboxInfo] { live.values.sorted { $0.id < $1.id } }

    func usage() async -> [SandboxUsage] {
        live.values.sorted { $0.id < $1.id }.map {
            SandboxUsage(info: $0, cpuTime: 1_500_000, memory: 4096, processes: 2, time: 2_000_000_000)
        }
    }

    func attach(
        _ reference: String, command: String?, input: CommandStreams.Input
    ) async throws -> CommandStreams {
        attachments.append((command, input))
        guard let streams = streams[reference] else { throw EngineError(.conflict, "attached elsewhere") }
        return streams
    }

    func exec(_ reference: String, _ spec: CommandSpec) async throws -> CommandInfo {
        if let createError { throw createError }
        try spec.validate(under: configuration)
        executed.append((reference, spec))
        return CommandInfo(
            id: "ex-1", sandbox: reference, command: spec.arguments, pid: 9, state: .running(startedAt: 1_000_000_000),
            hasTerminal: spec.terminal != nil)
    }

    func commands(of reference: String) async throws -> [CommandInfo] {
        _ = try await sandbox(reference)
        return [
            CommandInfo(
                id: "main", sandbox: reference, command: ["true"], pid: 2,
                state: .exited(
                    startedAt: 1_000_000_000, exitedAt: 2_000_000_000,
                    result: CommandResult(exitCode: 3, cause: .exited)))
        ]
    }

    /// What `logs` answers, and `wait`.
    func log(_ chunks: [LogChunk]) { logged = chunks }
    func end(_ reference: String, _ result: CommandResult) { ended[reference] = result }

    func logs(
        of reference: String, _ request: LogRequest
    ) async throws -> any AsyncSequence<LogChunk, any Error> & Sendable {
        _ = try await sandbox(reference)
        logRequests.append(request)
        let chunks = logged
        return AsyncThrowingStream { continuation in
            for chunk in chunks { continuation.yield(chunk) }
            continuation.finish()
        }
    }

    func wait(_ reference: String, command: String?) async throws -> CommandResult {
        while true {
            if let result = ended[reference] { return result }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    func kill(_ reference: String, command: String?, signal: Int32) async throws {
        kills.append((reference, command, signal))
    }

    func pause(_ reference: String) async throws -> SandboxInfo { try await turn(reference, .paused(startedAt: 0)) }

    func resume(_ reference: String) async throws -> SandboxInfo { try await turn(reference, .running(startedAt: 0)) }

    private func turn(_ reference: String, _ state: SandboxInfo.State) async throws -> SandboxInfo {
        var info = try await sandbox(reference)
        guard info.state != state else { throw EngineError(.conflict, "it is already") }
        info.state = state
        live[reference] = info
        return info
    }

    func apply(_ policy: Policy, from text: PolicyText, to reference: String) async throws -> SandboxInfo {
        var info = try await sandbox(reference)
        applied.append((reference, policy))
        info.policyName = policy.name
        info.policyGeneration += 1
        return info
    }

    private(set) var refusedPolicies: [(reference: String, error: String)] = []

    func refused(policy error: String, of reference: String) async { refusedPolicies.append((reference, error)) }

    func enforce(_ text: PolicyText, on target: CgroupReference) async throws -> Enforcement {
        let policy = try Policy(yaml: text.yaml, file: text.file)
        let path = if case .path(let path) = target { path } else { "/sys/fs/cgroup/of-pid" }
        let entry = Enforcement(
            id: "cg-1", path: path, policyName: policy.name, policyGeneration: 1, policyAudits: false,
            counters: SandboxCounters())
        enforced.append((target, entry))
        return entry
    }

    func enforcements() async -> [Enforcement] { enforced.map(\.entry) }

    func releaseEnforcement(_ reference: String) async throws {
        guard enforced.contains(where: { $0.entry.id == reference }) else {
            throw EngineError(.notFound, "no enforced cgroup \(reference)")
        }
        enforced.removeAll { $0.entry.id == reference }
    }

    func remove(_ reference: String, force: Bool) async throws {
        removals.append((reference, force))
        onRemove?(reference)
    }

    func events(matching filter: EventFilter, buffer: Int) async -> AsyncStream<Event> {
        filters.append(filter)
        let (stream, continuation) = AsyncStream<Event>.makeStream(bufferingPolicy: .bufferingOldest(buffer))
        continuation.onTermination = { _ in Task { await self.subscriptionEnded() } }
        subscriptions.append(continuation)
        return stream
    }

    func frames(
        matching filter: EventFilter, from history: HistoryRequest?, buffer: Int
    ) async throws -> FrameFeed {
        filters.append(filter)
        if let history { histories.append(history) }
        let pieces = Mutex(past)
        return FrameFeed(past: { pieces.withLock { $0.isEmpty ? nil : $0.removeFirst() } }, live: .empty)
    }

    func trace(
        _ reference: String, _ selection: TraceSelection, buffer: Int, asRecords: Bool
    ) async throws -> TraceFeed {
        _ = try await sandbox(reference)
        traced.append((reference, selection))
        let process = ProcessReference(
            pid: 7, hostPid: 4711, ppid: 1, uid: 0, comm: "cat", exe: nil, execID: "4711-a-1")
        let call = Syscall(
            thread: 7, process: process, name: "getppid", abi: .amd64, arguments: [], outcome: .returned(1),
            duration: 90)
        let (stream, continuation) = AsyncStream<Event>.makeStream()
        continuation.yield(
            Event(time: 1, seq: 1, sandbox: SandboxReference(id: reference, name: reference), body: .syscall(call)))
        continuation.finish()
        return TraceFeed(events: stream, frames: .empty) { Self.uses }
    }

    static let uses = [
        SyscallUse(name: "getppid", abi: .amd64, calls: 3, errors: 1, refused: 1, duration: 270)
    ]

    func syscalls(of reference: String) async throws -> [SyscallUse]? {
        _ = try await sandbox(reference)
        return traced.contains { $0.reference == reference } ? Self.uses : nil
    }

    private func subscriptionEnded() { endedSubscriptions += 1 }

    /// What `events(matching:from:buffer:)` begins with: pieces of whole lines.
    func remember(_ pieces: [[UInt8]]) { past = pieces }

    func events(
        matching filter: EventFilter, from history: HistoryRequest, buffer: Int
    ) async throws -> EventFeed {
        histories.append(history)
        let pieces = Mutex(past)
        return EventFeed(
            past: { pieces.withLock { $0.isEmpty ? nil : $0.removeFirst() } },
            live: await events(matching: filter, buffer: buffer))
    }

    nonisolated func record(_ audit: AuditRecord, sandbox: SandboxReference?) {
        audits.withLock { $0.append((audit, sandbox)) }
    }

    nonisolated var recorded: [(record: AuditRecord, sandbox: SandboxReference?)] { audits.withLock { $0 } }

    func count(_ statistics: EngineStatistics) { counted = statistics }
    func statistics() async -> EngineStatistics { counted }

    func pool() async -> PoolState { PoolState(target: 8, warm: 7, filling: 1, inUse: 2, coldStarts: 3, warmStarts: 4) }

    func doctor() async -> [HostCheck] {
        [HostCheck(feature: "BPF LSM", answer: .couldNotTell, detail: "not asked", without: "fewer events")]
    }
}

/// The streams of a command that is played by the test.
final class FakeCommand: Sendable {
    let log = EventLog()
    private let output: AsyncThrowingStream<CommandStreams.Chunk, any Error>.Continuation
    let streams: CommandStreams

    /// With `echo`, stdin comes back as stdout. With `readsStdin` false, a write to stdin waits until detached.
    init(echo: Bool = false, readsStdin: Bool = true, ownsSandbox: Bool = true) {
        let (stream, output) = AsyncThrowingStream<CommandStreams.Chunk, any Error>.makeStream()
        self.output = output
        let log = log
        streams = CommandStreams(
            output: stream,
            writeStdin: { bytes in
                while !readsStdin {
                    if log.contains("detach") { throw EngineError(.conflict, "detached") }
                    try await Task.sleep(for: .milliseconds(5))
                }
                log.add("stdin \(String(decoding: bytes, as: UTF8.self))")
                if echo { output.yield(.stdout(bytes)) }
            },
            closeStdin: { log.add("eof") }, resize: { log.add("resize \($0.rows) \($0.columns)") },
            signal: { log.add("signal \($0)") },
            detach: {
                log.add("detach")
                output.finish()
            },
            ownsSandbox: ownsSandbox
        )
    }

    func send(_ chunk: CommandStreams.Chunk) {
        output.yield(chunk)
        if case .exit = chunk { output.finish() }
    }

    func fail(_ error: any Error) { output.finish(throwing: error) }
}
