internal import CorralKernel
internal import CorralPolicy

/// What the next daemon needs to know of a claimed sandbox, beyond what the kernel and its corral-init tell. Environment variables
/// are here, since later commands get them too; secrets never are.
struct SandboxRecord: Codable, Sendable {
    /// Goes up when what stands here changes its meaning.
    static let version = 1

    struct Command: Codable, Sendable, Equatable {
        /// corral-init's number for it.
        var tag: UInt64
        var id: String
        var arguments: [String]
        var hasTerminal: Bool
        var detached: Bool
        /// Inside.
        var pid: Int32
        var state: CommandInfo.State
    }

    struct Publication: Codable, Sendable, Equatable {
        var hostAddress: String?
        /// Where the host listens.
        var hostPort: UInt16
        var sandboxPort: UInt16
        var proto: String
    }

    struct Mount: Codable, Sendable, Equatable {
        var source: String
        var target: String
        var readOnly: Bool
    }

    /// A policy that somebody gave it.
    struct AppliedPolicy: Codable, Sendable, Equatable {
        /// Of the compiled policy; its text is in a file of this number.
        var number: UInt32
        var generation: UInt32
    }

    var version = Self.version
    /// What its corral-init speaks (`InitChannel.version`); 1 where it is missing.
    var control: Int?
    var id: String
    var name: String
    var createdAt: Int64
    var state: LiveSandbox.State

    var slot: UInt32
    var epoch: UInt64
    var ipv4: String
    var ipv6: String
    /// corral-init.
    var process: ProcessIdentity
    var interface: String

    var image: String
    /// Of the image; empty for the host's.
    var digest: String
    /// Names, from the one that was asked for to the one that stands on the image.
    var snapshots: [String]
    var mounts: [Mount]

    var policy: AppliedPolicy?
    var limits: SandboxSpec.Limits
    /// CLOCK_BOOTTIME, nanoseconds: when its timeout ends it.
    var deadline: UInt64?
    var autoRemove: Bool
    var published: [Publication]

    /// The main command as it was asked for; its variables with those of the policy that it began under.
    var command: CommandSpec
    /// All that are known, the main one among them.
    var commands: [Command]
    var nextTag: UInt64
    /// Events that the kernel lost and that have been told as lost.
    var lostReported: UInt64
}

/// A compiled policy that sandboxes are under.
struct PolicyRecord: Codable, Sendable, Equatable {
    static let version = 1
    /// Goes up when the compiler's output for a policy changes: maps of an earlier one are replaced then. 2: permitted operations.
    static let compiler = 2

    var version = Self.version
    var compiler = Self.compiler
    var number: UInt32
    var text: PolicyText
    /// Port sets of the rules on names, by index into `egress.allow`.
    var namePorts: [Int: Int]
    /// Addresses of the host that it was compiled for.
    var host: [String]

    init(number: UInt32, text: PolicyText, namePorts: [Int: Int], host: HostContext) {
        self.number = number
        self.text = text
        self.namePorts = namePorts
        self.host = Self.describe(host)
    }

    static func describe(_ host: HostContext) -> [String] {
        (host.hostAddresses + host.sandboxPools).map(\.description)
    }
}
