public import CorralEvents
public import CorralPolicy

/// One instance of Corral on this host: its pool, sandboxes, maps and event stream.
public actor Engine {
    public nonisolated let configuration: EngineConfiguration

    /// Makes ready what the host needs and adopts or removes what an earlier daemon left. Throws before anything is half on.
    public init(configuration: EngineConfiguration) async throws {
        self.configuration = configuration
    }

    /// Keeps the pool filled and the events flowing until cancelled; then destroys every sandbox and unloads.
    public func run() async throws {}

    /// Claims a sandbox and starts its command. Returns when the command's first instruction is about to run.
    public func create(_ spec: SandboxSpec) async throws -> SandboxInfo {
        throw EngineError(.internal, "skeleton")
    }

    /// By id, unique prefix of an id, or name.
    public func sandbox(_ reference: String) async throws -> SandboxInfo {
        throw EngineError(.notFound, "skeleton")
    }

    /// Oldest first; exited ones that were not removed included.
    public func sandboxes() async -> [SandboxInfo] { [] }

    /// The one set of streams of the sandbox's command. `conflict` when another caller holds it.
    public func attach(_ reference: String) async throws -> CommandStreams {
        throw EngineError(.notFound, "skeleton")
    }

    /// Sends `signal` to the command's process group; SIGKILL ends the sandbox as a whole.
    public func kill(_ reference: String, signal: Int32) async throws {}

    /// Destroys a sandbox. `conflict` while its command runs, unless `force`.
    public func remove(_ reference: String, force: Bool) async throws {}

    /// Events from now on, oldest first, after the filter. A reader that falls more than `buffer` events behind loses the
    /// newest, and is told how many by a `lost` event.
    public func events(matching filter: EventFilter, buffer: Int) async -> AsyncStream<Event> {
        AsyncStream { $0.finish() }
    }

    public func pool() async -> PoolState {
        PoolState(target: 0, warm: 0, filling: 0, inUse: 0, coldStarts: 0, warmStarts: 0)
    }

    /// What this host can do. Asks the kernel each time.
    public func doctor() async -> [HostCheck] { [] }
}

public struct EngineConfiguration: Sendable {
    public var instance: String
    /// `/var/lib/corral/<instance>` unless given.
    public var stateDirectory: String
    public var runDirectory: String
    /// IPv4 pool, /16 to /28.
    public var subnet: IPPrefix
    /// IPv6 pool, a /64 to /112 of unique local addresses.
    public var subnet6: IPPrefix
    public var poolSize: Int
    /// Accept `CommandSpec.keepCapabilities` and `.noSeccomp`.
    public var allowTestSwitches: Bool

    public init(
        instance: String, stateDirectory: String, runDirectory: String, subnet: IPPrefix, subnet6: IPPrefix, poolSize: Int,
        allowTestSwitches: Bool
    ) {
        self.instance = instance
        self.stateDirectory = stateDirectory
        self.runDirectory = runDirectory
        self.subnet = subnet
        self.subnet6 = subnet6
        self.poolSize = poolSize
        self.allowTestSwitches = allowTestSwitches
    }
}

/// A sandbox as it was when asked for. Times: nanoseconds since 1970, UTC.
public struct SandboxInfo: Sendable {
    public enum State: Sendable, Equatable {
        case claimed
        case running(startedAt: Int64)
        case exited(startedAt: Int64, exitedAt: Int64, result: CommandResult)
        case destroyed
    }

    public var id: String
    public var name: String
    public var state: State
    public var image: String
    public var policyName: String
    public var policyGeneration: UInt32
    public var policyAudits: Bool
    public var command: [String]
    public var ipv4: IPAddress
    public var ipv6: IPAddress
    public var hostPid: Int32
    public var createdAt: Int64
    public var counters: SandboxCounters
}

/// Read from the kernel's counters of this sandbox. All grow only.
public struct SandboxCounters: Sendable, Equatable {
    public var allowed: UInt64 = 0
    public var denied: UInt64 = 0
    public var packetsOut: UInt64 = 0
    public var bytesOut: UInt64 = 0
    public var packetsIn: UInt64 = 0
    public var bytesIn: UInt64 = 0
    public var events: UInt64 = 0
    public var eventsLost: UInt64 = 0

    public init() {}
}

/// The streams of one command. Bytes move only when the holder moves them: a holder that stops reading blocks the command.
public struct CommandStreams: Sendable {
    public enum Chunk: Sendable {
        case stdout([UInt8])
        case stderr([UInt8])
        /// Comes once, last, after both streams have ended.
        case exit(CommandResult)
    }

    /// Chunks of at most 256 KiB; ends after `.exit`. One consumer.
    public let output: any AsyncSequence<Chunk, any Error> & Sendable
    /// Returns when the bytes are in the pipe. Throws once the command has closed its stdin or ended.
    public let writeStdin: @Sendable ([UInt8]) async throws -> Void
    public let closeStdin: @Sendable () async -> Void
    /// To the command's process group.
    public let signal: @Sendable (Int32) async throws -> Void
    /// Gives the streams back; a later `attach` may take them. Idempotent.
    public let detach: @Sendable () async -> Void
}

public struct PoolState: Sendable, Equatable {
    public var target: Int
    public var warm: Int
    public var filling: Int
    public var inUse: Int
    public var coldStarts: UInt64
    public var warmStarts: UInt64
}

/// One line of `corral doctor`.
public struct HostCheck: Sendable, Equatable {
    public enum Answer: Sendable {
        case yes
        case no
        case couldNotTell
    }

    public var feature: String
    public var answer: Answer
    public var detail: String
    public var without: String?
}
