public import CorralEvents
internal import CorralKernel
public import CorralPolicy
internal import NIOCore

/// What a caller asks for when it creates a sandbox; checked by the engine before anything is made.
public struct SandboxSpec: Sendable {
    public var name: String?
    public var image: String?
    /// Absent: the sandbox keeps the deny-all policy.
    public var policy: Policy?
    /// What `policy` was read from.
    public var policyText: PolicyText?
    /// Without arguments the sandbox waits for commands until it is removed or its time is over.
    public var command: CommandSpec
    public var autoRemove: Bool
    public var limits: Limits
    public var publish: [PortPublication]
    /// Gone from here once they are delivered.
    public var secrets: [Secret] = []
    /// Of the host; over those of the policy.
    public var mounts: [Policy.Files.Mount]
    /// A snapshot to start from; its image is the sandbox's.
    public var snapshot: String?
    /// Without arguments run what the image says.
    public var runsImageCommand: Bool

    /// The policy's limits, each replaced by the request's where that one gives it.
    public struct Limits: Sendable, Equatable, Codable {
        /// CPUs' worth of time: 0.5 is half of one.
        public var cpu: Double?
        public var cpuWeight: UInt32?
        public var memoryBytes: UInt64?
        public var pids: UInt32?
        public var diskBytes: UInt64?
        public var openFiles: UInt64?
        /// Bytes a second.
        public var ioRead: UInt64?
        public var ioWrite: UInt64?
        public var timeout: Duration?

        public init(
            cpu: Double? = nil, memoryBytes: UInt64? = nil, pids: UInt32? = nil, diskBytes: UInt64? = nil,
            timeout: Duration? = nil
        ) {
            self.cpu = cpu
            self.memoryBytes = memoryBytes
            self.pids = pids
            self.diskBytes = diskBytes
            self.timeout = timeout
        }
    }

    public init(
        name: String?, image: String?, policy: Policy?, policyText: PolicyText? = nil, command: CommandSpec,
        autoRemove: Bool, limits: Limits,
        publish: [PortPublication] = [], mounts: [Policy.Files.Mount] = [], snapshot: String? = nil,
        runsImageCommand: Bool = false
    ) {
        self.name = name
        self.image = image
        self.policy = policy
        self.policyText = policyText
        self.command = command
        self.autoRemove = autoRemove
        self.limits = limits
        self.publish = publish
        self.mounts = mounts
        self.snapshot = snapshot
        self.runsImageCommand = runsImageCommand
    }
}

/// A port of the host that leads into the sandbox.
public struct PortPublication: Sendable, Equatable {
    /// Nil: every address of the host.
    public var hostAddress: IPAddress?
    /// 0: a free one.
    public var hostPort: UInt16
    public var sandboxPort: UInt16
    /// `tcp` or `udp`.
    public var proto: IPProtocol

    public init(hostAddress: IPAddress? = nil, hostPort: UInt16, sandboxPort: UInt16, proto: IPProtocol = .tcp) {
        self.hostAddress = hostAddress
        self.hostPort = hostPort
        self.sandboxPort = sandboxPort
        self.proto = proto
    }

    /// Of one sandbox.
    static let maximum = 64
}

extension SandboxSpec {
    /// What is wrong whatever the state of the engine. Throws `invalidRequest`, which names the field, and `forbidden`.
    public func validate(under configuration: EngineConfiguration) throws(EngineError) {
        if !command.arguments.isEmpty { try command.validate(under: configuration) }
        if let name, !Self.isName(name) {
            throw EngineError(
                .invalidRequest,
                "name: expected 1 to 63 letters, digits, dots, hyphens or underscores, the first a letter or digit"
            )
        }
        try Secret.check(secrets)
        guard publish.count <= PortPublication.maximum else {
            throw EngineError(.invalidRequest, "publish: expected at most \(PortPublication.maximum) ports")
        }
    }

    private static func isName(_ text: String) -> Bool {
        let letters = text.utf8.map { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: false
            }
        }
        guard (1...63).contains(letters.count), letters[0] else { return false }
        return zip(text.utf8, letters).allSatisfy { $1 || Array("_.-".utf8).contains($0) }
    }
}

extension CommandSpec {
    /// What is wrong whatever the state of the engine. Throws `invalidRequest`, which names the field, and `forbidden`.
    public func validate(under configuration: EngineConfiguration) throws(EngineError) {
        guard let program = arguments.first, !program.isEmpty else {
            throw EngineError(.invalidRequest, "command: empty; expected a program and its arguments")
        }
        for (index, argument) in arguments.enumerated() {
            try Self.refuseNUL(argument, field: "command[\(index)]")
        }
        for (name, value) in environment {
            guard !name.isEmpty, !name.utf8.contains(UInt8(ascii: "=")) else {
                throw EngineError(.invalidRequest, "env: a name that is empty or holds =")
            }
            try Self.refuseNUL(name, field: "env")
            try Self.refuseNUL(value, field: "env.\(name)")
        }
        if let directory = workingDirectory {
            try Self.refuseNUL(directory, field: "workingDirectory")
            guard directory.hasPrefix("/") else {
                throw EngineError(.invalidRequest, "workingDirectory: expected an absolute path")
            }
        }
        if let user, max(user.uid, user.gid) > CommandUser.largest {
            throw EngineError(.invalidRequest, "user: expected numbers of 0 to \(CommandUser.largest)")
        }
        if keepCapabilities || noSeccomp, !configuration.allowTestSwitches {
            throw EngineError(.forbidden, "testSwitches: corrald does not run with --allow-test-switches")
        }
    }

    private static func refuseNUL(_ text: String, field: String) throws(EngineError) {
        if text.utf8.contains(0) { throw EngineError(.invalidRequest, "\(field): holds a NUL character") }
    }
}

/// A command to run in a sandbox.
public struct CommandSpec: Sendable, Codable {
    public var arguments: [String]
    public var environment: [String: String]
    public var workingDirectory: String?
    /// Give it a pipe as stdin; otherwise /dev/null.
    public var stdin: Bool
    /// Nil: root, or who the main command is.
    public var user: CommandUser?
    /// A terminal of this size in the place of three pipes.
    public var terminal: TerminalSize?
    /// Its output is taken although nobody reads it. Otherwise it waits for the first reader.
    public var detached: Bool
    /// Tests only: leave the capabilities, or the seccomp filter, out of the way of the BPF layer.
    public var keepCapabilities: Bool
    public var noSeccomp: Bool

    public init(
        arguments: [String], environment: [String: String] = [:], workingDirectory: String? = nil, stdin: Bool = false,
        user: CommandUser? = nil, terminal: TerminalSize? = nil, detached: Bool = false,
        keepCapabilities: Bool = false, noSeccomp: Bool = false
    ) {
        self.arguments = arguments
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.stdin = stdin
        self.user = user
        self.terminal = terminal
        self.detached = detached
        self.keepCapabilities = keepCapabilities
        self.noSeccomp = noSeccomp
    }
}

/// How a command ended.
public struct CommandResult: Sendable, Equatable, Codable {
    public enum Cause: String, Sendable, Codable {
        case exited
        case signalled
        case timeout
        case removed
    }

    /// Its exit code; 128 + signal when signalled, 124 after a timeout, 137 when removed.
    public var exitCode: Int32
    public var cause: Cause
    /// What the sandbox was refused until then.
    public var refusals: [RefusalSummary]

    public init(exitCode: Int32, cause: Cause, refusals: [RefusalSummary] = []) {
        self.exitCode = exitCode
        self.cause = cause
        self.refusals = refusals
    }
}

/// What the engine refuses, or fails at. `detail` holds further lines for a person.
public struct EngineError: Error, Sendable, CustomStringConvertible {
    public enum Kind: String, Sendable {
        case invalidRequest = "invalid_request"
        case notFound = "not_found"
        case conflict
        case forbidden
        /// No slot, address, memory or descriptor left.
        case exhausted
        case commandNotFound = "command_not_found"
        case commandNotExecutable = "command_not_executable"
        case `internal`
    }

    public var kind: Kind
    public var message: String
    public var detail: [String]

    public init(_ kind: Kind, _ message: String, detail: [String] = []) {
        self.kind = kind
        self.message = message
        self.detail = detail
    }

    public var description: String { ([message] + detail).joined(separator: "\n") }

    /// `exhausted` when something has run out, otherwise `kind`.
    init(_ message: String, because error: any Error, otherwise kind: Kind = .internal) {
        let number = (error as? KernelError)?.errno ?? (error as? FileError)?.errno ?? (error as? IOError)?.errnoCode
        let isShortage = (error as? EngineError)?.kind == .exhausted || number.map(KernelError.isShortage) ?? false
        let text = (error as? IOError).map { KernelError.describe($0.errnoCode) } ?? "\(error)"
        self.init(isShortage ? .exhausted : kind, message, detail: [text])
    }
}
