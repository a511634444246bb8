public import CorralEvents
internal import CorralKernel
public import CorralPolicy

/// What an engine counts, as it was when asked. Counts are since this daemon began, and grow only.
public struct EngineStatistics: Sendable {
    public var pool: PoolState
    /// By `claimed`, `running` and `exited`.
    public var sandboxes: [String: Int] = [:]
    public var enforcedCgroups = 0
    /// Places that the kernel's maps hold, and those in use.
    public var slots = MapFill()
    /// Addresses that names have opened.
    public var pins = MapFill()
    public var verdicts: [Reason: UInt64] = [:]
    public var unchargedVerdicts: UInt64 = 0
    /// Every program, those of the trace once it is loaded. Runs and their time are 0 unless the host measures them.
    public var programs: [ProgramRunTime] = []
    /// What the kernel did not do for a program that asked.
    public var helperFailures: [(helper: String, subject: String, count: UInt64)] = []
    public var maps: [(name: String, fill: MapFill)] = []
    public var tracedSandboxes = 0
    /// The BPF LSM enforces; false: it is absent.
    public var isLsmEnforced = false
    public var names = ResolverStatistics()
    public var events = EventStatistics()
    public var journal = JournalStatistics()
    /// Bytes that the daemon has allocated, and those that its allocator holds beside them.
    public var heap = (used: UInt64(0), free: UInt64(0))

    public init(pool: PoolState) {
        self.pool = pool
    }
}

/// How often a program in the kernel ran, for how long, and how often the kernel left it out.
public struct ProgramRunTime: Sendable, Equatable {
    public var name: String
    public var runs: UInt64
    public var nanoseconds: UInt64
    public var misses: UInt64

    public init(name: String, runs: UInt64, nanoseconds: UInt64, misses: UInt64) {
        self.name = name
        self.runs = runs
        self.nanoseconds = nanoseconds
        self.misses = misses
    }
}

public struct MapFill: Sendable, Equatable {
    public var used: Int
    public var limit: Int

    public init(used: Int = 0, limit: Int = 0) {
        self.used = used
        self.limit = limit
    }
}

public struct EventStatistics: Sendable, Equatable {
    /// Events that this daemon heard of or made, by type.
    public var published: [EventType: UInt64] = [:]
    /// To readers; one event counts for each of them.
    public var delivered: UInt64 = 0
    public var lostInKernel: UInt64 = 0
    /// Because a reader fell behind.
    public var lostByReaders: UInt64 = 0

    public init() {}
}

extension Engine {
    /// Asks the kernel for its counts.
    public func statistics() async -> EngineStatistics {
        var statistics = EngineStatistics(pool: await pool())
        for sandbox in live.values {
            let state =
                switch sandbox.state {
                case .claimed: "claimed"
                case .running: "running"
                case .paused: "paused"
                case .exited: "exited"
                }
            statistics.sandboxes[state, default: 0] += 1
        }
        let hooks = host.provisioner.hooks
        statistics.enforcedCgroups = enforced.count
        statistics.slots = MapFill(used: slots.used, limit: min(slots.limit, SandboxHooks.mostSlots))
        statistics.pins = MapFill(used: names.openAddresses, limit: SandboxHooks.mostPins)
        if let counts = try? hooks.verdictCounts() {
            statistics.verdicts = counts.byReason
            statistics.unchargedVerdicts = counts.uncharged
        }
        statistics.programs = (((try? hooks.programRuns()) ?? []) + (trace?.programRuns() ?? [])).map {
            ProgramRunTime(name: $0.name, runs: $0.runs, nanoseconds: $0.nanoseconds, misses: $0.misses)
        }
        statistics.helperFailures = (try? hooks.helperFailures()) ?? []
        let programs = hooks
        let counted = try? await measuring.run { programs.mapEntries() }
        statistics.maps = (counted ?? []).map { ($0.name, MapFill(used: $0.entries, limit: $0.limit)) }
        statistics.isLsmEnforced = host.lsm.isEnforced
        statistics.tracedSandboxes = trace?.tracedCount ?? 0
        statistics.names = nameService.resolver.statistics
        statistics.events = hub.statistics
        statistics.journal = journal.statistics
        let heap = Heap.now
        statistics.heap = (heap.used, heap.free)
        return statistics
    }
}
