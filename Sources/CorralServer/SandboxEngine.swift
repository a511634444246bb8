public import CorralEngine
public import CorralEvents
public import CorralPolicy

/// What the routes need of an engine.
public protocol SandboxEngine: FileEngine {
    var configuration: EngineConfiguration { get }

    func create(_ spec: SandboxSpec) async throws -> SandboxInfo
    func sandbox(_ reference: String) async throws -> SandboxInfo
    func sandboxes() async -> [SandboxInfo]
    func usage() async -> [SandboxUsage]
    func exec(_ reference: String, _ spec: CommandSpec) async throws -> CommandInfo
    func commands(of reference: String) async throws -> [CommandInfo]
    func attach(_ reference: String, command: String?, input: CommandStreams.Input) async throws -> CommandStreams
    func logs(of reference: String, _ request: LogRequest) async throws
        -> any AsyncSequence<LogChunk, any Error> & Sendable
    func wait(_ reference: String, command: String?) async throws -> CommandResult
    func kill(_ reference: String, command: String?, signal: Int32) async throws
    func pause(_ reference: String) async throws -> SandboxInfo
    func resume(_ reference: String) async throws -> SandboxInfo
    /// - Parameter text: what the policy was read from.
    func apply(_ policy: Policy, from text: PolicyText, to reference: String) async throws -> SandboxInfo
    /// Tells readers that a policy which was to replace a sandbox's was refused.
    func refused(policy error: String, of reference: String) async
    func remove(_ reference: String, force: Bool) async throws
    func events(matching filter: EventFilter, buffer: Int) async -> AsyncStream<Event>
    func events(matching filter: EventFilter, from history: HistoryRequest, buffer: Int) async throws -> EventFeed
    func frames(
        matching filter: EventFilter, from history: HistoryRequest?, buffer: Int
    ) async throws -> FrameFeed
    /// Tells readers and the journal what somebody asked for. Does not wait.
    func record(_ audit: AuditRecord, sandbox: SandboxReference?)
    func statistics() async -> EngineStatistics
    func trace(
        _ reference: String, _ selection: TraceSelection, buffer: Int, asRecords: Bool
    ) async throws -> TraceFeed
    func syscalls(of reference: String) async throws -> [SyscallUse]?
    func enforce(_ text: PolicyText, on target: CgroupReference) async throws -> Enforcement
    func enforcements() async -> [Enforcement]
    func releaseEnforcement(_ reference: String) async throws
    func pool() async -> PoolState
    func doctor() async -> [HostCheck]
}

extension Engine: SandboxEngine {}
