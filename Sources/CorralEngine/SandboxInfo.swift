public import CorralPolicy

/// A sandbox as it was when asked for. Times: nanoseconds since 1970, UTC.
public struct SandboxInfo: Sendable {
    public enum State: Sendable, Equatable {
        case claimed
        case running(startedAt: Int64)
        case paused(startedAt: Int64)
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
    /// Empty: it waits for others.
    public var command: [String]
    public var ipv4: IPAddress
    public var ipv6: IPAddress
    public var hostPid: Int32
    public var createdAt: Int64
    public var counters: SandboxCounters
    /// It is destroyed once its command has ended and its output has been read.
    public var autoRemove: Bool
    /// Limits of the policy in force; what is used of them stands in `counters` and `dnsQueries`.
    public var budgets: EgressBudgets
    /// Names that the sandbox has asked for.
    public var dnsQueries: UInt64
    /// With the port that the host listens on.
    public var published: [PortPublication]
    /// Commands in it that have not ended, the main one among them.
    public var runningCommands = 0
    /// Of `create` alone.
    public var timing: StartTiming?

    public init(
        id: String, name: String, state: State, image: String, policyName: String, policyGeneration: UInt32,
        policyAudits: Bool, command: [String], ipv4: IPAddress, ipv6: IPAddress, hostPid: Int32, createdAt: Int64,
        counters: SandboxCounters, autoRemove: Bool,
        budgets: EgressBudgets = EgressBudgets(), dnsQueries: UInt64 = 0, published: [PortPublication] = []
    ) {
        self.id = id
        self.name = name
        self.state = state
        self.image = image
        self.policyName = policyName
        self.policyGeneration = policyGeneration
        self.policyAudits = policyAudits
        self.command = command
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.hostPid = hostPid
        self.createdAt = createdAt
        self.counters = counters
        self.autoRemove = autoRemove
        self.budgets = budgets
        self.dnsQueries = dnsQueries
        self.published = published
    }
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
    /// Flows that were opened.
    public var connections: UInt64 = 0
    /// Frames dropped for the rate of its policy.
    public var throttled: UInt64 = 0
    /// Refusals for a budget that is used up.
    public var exhausted: UInt64 = 0

    public init() {}
}
