internal import CorralEvents

/// `GET /v1/sandboxes/stats` → 200 `[SandboxStats]`: what each sandbox uses and has done, at one moment.
public struct SandboxStats: Codable, Sendable, Equatable {
    public var id: String
    public var name: String
    public var state: SandboxState
    /// When it was measured; RFC 3339 in UTC.
    public var time: String
    /// CPU time since it was made, nanoseconds; 0 once its command has ended, and so are the next two.
    public var cpuNs: UInt64
    /// Bytes.
    public var memoryBytes: UInt64
    /// Processes, the sandbox's pid 1 among them.
    public var processes: Int
    public var counters: Sandbox.Counters

    public init(
        id: String, name: String, state: SandboxState, time: String, cpuNs: UInt64, memoryBytes: UInt64, processes: Int,
        counters: Sandbox.Counters
    ) {
        self.id = id
        self.name = name
        self.state = state
        self.time = time
        self.cpuNs = cpuNs
        self.memoryBytes = memoryBytes
        self.processes = processes
        self.counters = counters
    }
}

/// What a sandbox does in a second, between two moments.
public struct SandboxRates: Codable, Sendable, Equatable {
    /// Of one CPU; 200 for two.
    public var cpuPercent: Double
    /// Bytes.
    public var sent: Double
    public var received: Double
    public var events: Double
    public var denials: Double

    /// Nil when the two are no two moments of one sandbox. What has gone backwards counts as nothing.
    public init?(from before: SandboxStats, to now: SandboxStats) {
        guard before.id == now.id, let start = RFC3339.nanoseconds(before.time),
            let end = RFC3339.nanoseconds(now.time),
            end > start
        else { return nil }
        let seconds = Double(end - start) / 1e9
        func rate(_ value: (SandboxStats) -> UInt64) -> Double {
            let (difference, overflow) = value(now).subtractingReportingOverflow(value(before))
            return overflow ? 0 : Double(difference) / seconds
        }
        cpuPercent = rate(\.cpuNs) / 1e7
        sent = rate(\.counters.bytesOut)
        received = rate(\.counters.bytesIn)
        events = rate(\.counters.events)
        denials = rate(\.counters.denied)
    }
}
