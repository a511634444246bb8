internal import CorralKernel

/// How long each step of a sandbox's start took, in nanoseconds. The steps follow one another.
public struct StartTiming: Sendable, Equatable {
    public enum Stage: String, Sendable, CaseIterable {
        /// Compile the policy, or find it compiled.
        case policy
        /// Take a warm sandbox, or make a cold one.
        case claim
        /// Put the policy in force and publish ports.
        case bind
        case limits
        /// Tell corral-init to execute, until it has.
        case exec
    }

    /// It came out of the pool.
    public var isWarm = false
    public private(set) var stages: [(stage: Stage, nanoseconds: UInt64)] = []
    private var last: UInt64

    /// CLOCK_MONOTONIC.
    public static func now() -> UInt64 { Clock.monotonic() }

    public init(from start: UInt64 = now()) {
        last = start
    }

    /// The stage has just ended.
    public mutating func end(_ stage: Stage) {
        let now = Self.now()
        stages.append((stage, now &- last))
        last = now
    }

    public static func == (a: StartTiming, b: StartTiming) -> Bool {
        a.isWarm == b.isWarm && a.stages.map(\.stage) == b.stages.map(\.stage)
            && a.stages.map(\.nanoseconds) == b.stages.map(\.nanoseconds)
    }
}
