/// Who a command is, in numbers of its sandbox: 0 to 65534.
public struct CommandUser: Codable, Sendable, Equatable {
    public var uid: Int
    /// Absent: the same as `uid`.
    public var gid: Int?

    public init(uid: Int, gid: Int? = nil) {
        self.uid = uid
        self.gid = gid
    }

    /// `UID` or `UID:GID`; nil for anything else.
    public init?(_ text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        let numbers = parts.compactMap { part in
            part.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(part).map(Int.init) : nil
        }
        guard (1...2).contains(parts.count), numbers.count == parts.count, numbers.allSatisfy({ $0 < 65_535 }) else {
            return nil
        }
        self.init(uid: numbers[0], gid: numbers.count == 2 ? numbers[1] : nil)
    }
}

/// In characters: 0 to 65535.
public struct TerminalSize: Codable, Sendable, Equatable {
    public var rows: Int
    public var columns: Int

    public init(rows: Int, columns: Int) {
        self.rows = rows
        self.columns = columns
    }
}

/// `POST /v1/sandboxes/{ref}/exec` → 201 `SandboxCommand`. Starts a further command in a running sandbox.
public struct ExecRequest: Codable, Sendable, Equatable {
    public var command: [String]
    /// Over the policy's and the main command's.
    public var env: [String: String]?
    /// The main command's when absent.
    public var workingDirectory: String?
    /// The main command's when absent.
    public var user: CommandUser?
    /// Give it a pipe as stdin, fed by `attach`. Absent: /dev/null.
    public var stdin: Bool?
    /// A terminal in the place of the pipes.
    public var terminal: TerminalSize?
    /// Drop what it writes while no client is attached. Absent: it waits in its pipes for the first client.
    public var detach: Bool?

    public init(
        command: [String], env: [String: String]? = nil, workingDirectory: String? = nil, user: CommandUser? = nil,
        stdin: Bool? = nil, terminal: TerminalSize? = nil, detach: Bool? = nil
    ) {
        self.command = command
        self.env = env
        self.workingDirectory = workingDirectory
        self.user = user
        self.stdin = stdin
        self.terminal = terminal
        self.detach = detach
    }
}

/// A command of a sandbox, one of `GET /v1/sandboxes/{ref}/exec`. Times are RFC 3339 in UTC.
public struct SandboxCommand: Codable, Sendable, Equatable {
    public enum State: String, Codable, Sendable {
        case starting
        case running
        case exited
    }

    /// `main` for the one that the sandbox was made for.
    public var id: String
    public var sandbox: String
    public var command: [String]
    /// Inside.
    public var pid: Int32
    public var state: State
    public var terminal: Bool
    public var startedAt: String?
    public var exitedAt: String?
    /// As `Sandbox.exitCode`.
    public var exitCode: Int32?

    public init(
        id: String, sandbox: String, command: [String], pid: Int32, state: State, terminal: Bool, startedAt: String?,
        exitedAt: String?, exitCode: Int32?
    ) {
        self.id = id
        self.sandbox = sandbox
        self.command = command
        self.pid = pid
        self.state = state
        self.terminal = terminal
        self.startedAt = startedAt
        self.exitedAt = exitedAt
        self.exitCode = exitCode
    }
}

/// `GET /v1/sandboxes/{ref}/wait` → 200, once the command has ended.
public struct WaitResult: Codable, Sendable, Equatable {
    public var exitCode: Int32
    /// `exited`, `signalled`, `timeout` or `removed`.
    public var cause: String

    public init(exitCode: Int32, cause: String) {
        self.exitCode = exitCode
        self.cause = cause
    }
}

/// How long the steps of a start took. Moments are microseconds of CLOCK_MONOTONIC, which the host's processes share.
public struct StartTimes: Codable, Sendable, Equatable {
    public struct Stage: Codable, Sendable, Equatable {
        /// `request` (read and check it), `policy` (compile, or find it compiled), `claim`, `limits`, `bind` (policy in
        /// force, ports), `exec` (until the command runs).
        public var name: String
        public var microseconds: Double

        public init(name: String, microseconds: Double) {
            self.name = name
            self.microseconds = microseconds
        }
    }

    /// The sandbox came out of the pool.
    public var warm: Bool
    public var receivedAt: Double
    public var answeredAt: Double
    /// One after the other, between the two moments.
    public var stages: [Stage]

    public init(warm: Bool, receivedAt: Double, answeredAt: Double, stages: [Stage]) {
        self.warm = warm
        self.receivedAt = receivedAt
        self.answeredAt = answeredAt
        self.stages = stages
    }
}
