internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy

/// A sandbox that somebody has claimed. The engine's actor alone touches it.
final class LiveSandbox {
    enum State: Codable, Sendable, Equatable {
        /// Nobody has heard yet that its command runs.
        case claimed
        case running(startedAt: Int64)
        case paused(startedAt: Int64)
        case exited(startedAt: Int64, exitedAt: Int64, result: CommandResult)
    }

    /// A policy that a caller gave. Its first one is generation 1; each that replaces it counts one more.
    struct AppliedPolicy {
        var policy: Policy
        /// What it was read from.
        var text: PolicyText
        var generation: UInt32
    }

    /// Somebody who wants its system calls, whatever the policy asks for.
    struct Watcher {
        var selection: TraceSelection
        var queue: EventQueue
    }

    let warm: WarmSandbox
    let name: String
    let spec: SandboxSpec
    let createdAt: Int64
    let image: String
    /// Nil until it is claimed.
    var base: FileBase?
    /// Of one that is kept after its end, so that its files can still be read then.
    var files: SandboxFiles?
    /// Snapshots of it that are being taken.
    var copies = 0
    /// Nil: the deny-all policy, which the sandbox was made with.
    var applied: AppliedPolicy?
    /// What is in force; kept alive by this.
    var policyMap: PolicyMap
    /// The seccomp program of commands that start from now on.
    var syscallFilter: [UInt8]
    var state = State.claimed
    /// By corral-init's number, the main one among them; ended ones until there are too many.
    var commands: [UInt64: LiveCommand] = [:]
    var nextTag = LiveCommand.mainTag + 1
    /// The limit of its disk has been told to corral-init, which takes it with a command.
    var isDiskLimited = false
    let ending = CommandEnding()
    var isBeingDestroyed = false
    /// Why the main command is about to end, when the engine ends it.
    var endCause: CommandResult.Cause?
    var timing: StartTiming?
    var timeout: Task<Void, Never>?
    /// When that ends it: CLOCK_BOOTTIME, nanoseconds.
    var deadline: UInt64?
    /// It stands still for a snapshot, not because somebody asked for that.
    var isPausedForCopy = false
    /// Counts what was written down of it.
    var pictures: UInt64 = 0
    let recordLife = RecordLife()
    var lostReported: UInt64 = 0
    var watchers: [UInt64: Watcher] = [:]
    /// Those of the policy in force that have taken effect.
    var budgetsReported: Set<LimitReached.Budget> = []
    /// Limits that were hit, and how often when it was told last.
    var limitsReported: [LimitReached.Kind: UInt64] = [:]
    var published: [(publication: PortPublication, forwarder: any PortForwarder)] = []

    init(
        warm: WarmSandbox, name: String, spec: SandboxSpec, createdAt: Int64, image: String, policyMap: PolicyMap,
        syscallFilter: [UInt8]
    ) {
        self.warm = warm
        self.name = name
        self.spec = spec
        self.createdAt = createdAt
        self.image = image
        applied = spec.policy.map {
            AppliedPolicy(policy: $0, text: spec.policyText ?? PolicyText(file: $0.file, yaml: ""), generation: 1)
        }
        self.policyMap = policyMap
        self.syscallFilter = syscallFilter
    }

    /// Ends every process in it. One that is kept after its end gives its network up with that.
    func killAll() throws(KernelError) {
        if spec.autoRemove || isBeingDestroyed { warm.holdNetwork() }
        try warm.cgroup.killAll()
    }

    /// Nil when it was made to wait for others.
    var main: LiveCommand? { commands[LiveCommand.mainTag] }

    /// When it began to run; nil unless it runs or is paused.
    var aliveSince: Int64? {
        switch state {
        case .running(let startedAt), .paused(let startedAt): startedAt
        case .claimed, .exited: nil
        }
    }

    var id: String { warm.id }
    var reference: SandboxReference { SandboxReference(id: id, name: name) }
}
