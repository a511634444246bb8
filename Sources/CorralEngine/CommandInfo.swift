/// A command as it was when asked for. Times: nanoseconds since 1970, UTC.
public struct CommandInfo: Sendable, Equatable {
    public enum State: Sendable, Equatable, Codable {
        case starting
        case running(startedAt: Int64)
        case exited(startedAt: Int64, exitedAt: Int64, result: CommandResult)
    }

    /// `main`, or one of its own in its sandbox.
    public var id: String
    /// The sandbox's id.
    public var sandbox: String
    public var command: [String]
    /// Inside.
    public var pid: Int32
    public var state: State
    public var hasTerminal: Bool

    public init(
        id: String, sandbox: String, command: [String], pid: Int32, state: State, hasTerminal: Bool = false
    ) {
        self.id = id
        self.sandbox = sandbox
        self.command = command
        self.pid = pid
        self.state = state
        self.hasTerminal = hasTerminal
    }
}

/// Numbers inside the sandbox.
public struct CommandUser: Sendable, Equatable, Codable {
    public var uid: UInt32
    public var gid: UInt32

    public static let root = CommandUser(uid: 0, gid: 0)

    public init(uid: UInt32, gid: UInt32) {
        self.uid = uid
        self.gid = gid
    }

    /// The last number of a sandbox is that of its corral-init.
    public static let largest: UInt32 = 65_534
}

/// In characters.
public struct TerminalSize: Sendable, Equatable, Codable {
    public var rows: UInt16
    public var columns: UInt16

    public init(rows: UInt16, columns: UInt16) {
        self.rows = rows
        self.columns = columns
    }
}
