internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import Glibc

struct Ps: ClientCommand {
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case table
        case json
    }

    static let configuration = CommandConfiguration(
        abstract: "List sandboxes.",
        discussion: "A table on a terminal; elsewhere the same columns separated by tabs, without the heading."
    )

    @OptionGroup var connection: ConnectionOptions

    @Flag(name: .shortAndLong, help: "Show those whose command has ended, too.")
    var all = false

    @Flag(name: .shortAndLong, help: "Print ids alone.")
    var quiet = false

    @Option(
        help: ArgumentHelp(
            "Only those with this name or id (a part is enough), state, or policy. Values of one key are alternatives.",
            valueName: "name|id|state|policy=value"))
    var filter: [String] = []

    @Option(help: "table or json.")
    var format = Format.table

    func validate() throws {
        _ = try filter.map(SandboxFilter.init)
    }

    func execute() throws {
        let filters = try filter.map(SandboxFilter.init)
        let wantsState = filters.contains { $0.key == .state }
        let sandboxes = try connection.client().sandboxes().filter { sandbox in
            (all || wantsState || sandbox.isAlive)
                && SandboxFilter.Key.allCases.allSatisfy { key in
                    let ofKey = filters.filter { $0.key == key }
                    return ofKey.isEmpty || ofKey.contains { $0.matches(sandbox) }
                }
        }
        if quiet { return try Output.write(sandboxes.map { TerminalText.neutralised($0.id) + "\n" }.joined()) }
        switch format {
        case .json: try Output.write(json: sandboxes)
        case .table:
            let now = Clock.now()
            try Output.write(
                table: ["ID", "NAME", "STATE", "AGE", "POLICY", "DENIED", "COMMAND"],
                sandboxes.map { sandbox in
                    [
                        TerminalText.neutralised(sandbox.id), TerminalText.neutralised(sandbox.name),
                        sandbox.exitCode.map { "\(sandbox.state.rawValue) (\($0))" } ?? sandbox.state.rawValue,
                        RFC3339.nanoseconds(sandbox.createdAt).map { Clock.age(since: $0, now: now) } ?? "-",
                        TerminalText.neutralised(sandbox.policy.name), "\(sandbox.counters.denied)",
                        Self.line(sandbox.command),
                    ]
                }
            )
        }
    }

    /// A command as one line that fits beside the other columns.
    private static func line(_ command: [String]) -> String {
        let line = command.map(TerminalText.quoted).joined(separator: " ")
        return line.count > 60 ? line.prefix(59) + "…" : line
    }
}

/// One `--filter` of `ps`.
struct SandboxFilter {
    enum Key: String, CaseIterable {
        case name
        case id
        case state
        case policy
    }

    var key: Key
    var value: String

    init(_ text: String) throws {
        let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
        guard parts.count == 2, let key = Key(rawValue: parts[0]) else {
            throw ValidationError("--filter: expected name=, id=, state= or policy= and a value")
        }
        if key == .state, SandboxState(rawValue: parts[1]) == nil {
            let known = SandboxState.allCases.map(\.rawValue).joined(separator: ", ")
            throw ValidationError("--filter: state: expected one of \(known)")
        }
        self.key = key
        value = parts[1]
    }

    func matches(_ sandbox: Sandbox) -> Bool {
        switch key {
        case .name: value.isEmpty || sandbox.name.contains(value)
        case .id: value.isEmpty || sandbox.id.contains(value)
        case .state: sandbox.state.rawValue == value
        case .policy: sandbox.policy.name == value
        }
    }
}

extension Sandbox {
    var isAlive: Bool { state == .claimed || state == .running || state == .paused }
}

struct Inspect: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show all that is known about sandboxes, as a JSON array.")

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Sandboxes by id or name.")
    var sandbox: [String]

    func execute() throws {
        let client = try connection.client()
        var found: [Sandbox] = []
        let isComplete = try forEachSandbox(sandbox) { found.append(try client.sandbox($0)) }
        try Output.write(json: found)
        if !isComplete { throw ExitCode(Self.failureCode) }
    }
}

struct Kill: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Send a signal to the command of sandboxes.",
        discussion: "KILL, the default, ends the sandbox as a whole."
    )

    @OptionGroup var connection: ConnectionOptions

    @Option(name: .shortAndLong, help: "Name or number of the signal.")
    var signal = "KILL"

    @Option(help: ArgumentHelp("A command of exec instead of the main one.", valueName: "id"))
    var exec: String?

    @Argument(help: "Sandboxes by id or name.")
    var sandbox: [String]

    func execute() throws {
        let client = try connection.client()
        try actOnEach(sandbox) { try client.kill($0, KillRequest(signal: signal, exec: exec)) }
    }
}

struct Pause: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Stop everything in sandboxes where it is.", discussion: "Their timeouts go on.")

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Sandboxes by id or name.")
    var sandbox: [String]

    func execute() throws {
        let client = try connection.client()
        try actOnEach(sandbox) { _ = try client.pause($0) }
    }
}

struct Resume: ClientCommand {
    static let configuration = CommandConfiguration(abstract: "Let paused sandboxes go on.")

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Sandboxes by id or name.")
    var sandbox: [String]

    func execute() throws {
        let client = try connection.client()
        try actOnEach(sandbox) { _ = try client.resume($0) }
    }
}

struct Wait: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Wait for the commands of sandboxes to end, and print their exit codes.")

    @OptionGroup var connection: ConnectionOptions

    @Option(help: ArgumentHelp("A command of exec instead of the main one.", valueName: "id"))
    var exec: String?

    @Argument(help: "Sandboxes by id or name.")
    var sandbox: [String]

    func execute() throws {
        let client = try connection.client()
        let isComplete = try forEachSandbox(sandbox) { reference in
            try Output.write("\(try client.wait(reference, exec: exec).exitCode)\n")
        }
        if !isComplete { throw ExitCode(Self.failureCode) }
    }
}

struct Remove: ClientCommand {
    static let configuration = CommandConfiguration(commandName: "rm", abstract: "Destroy sandboxes.")

    @OptionGroup var connection: ConnectionOptions

    @Flag(name: .shortAndLong, help: "Also those whose command still runs.")
    var force = false

    @Argument(help: "Sandboxes by id or name.")
    var sandbox: [String]

    func execute() throws {
        let client = try connection.client()
        try actOnEach(sandbox) { try client.removeSandbox($0, force: force) }
    }
}

extension ClientCommand {
    /// Does the same to each and prints its name; fails in the end when corrald has refused one.
    fileprivate func actOnEach(_ references: [String], _ action: (String) throws -> Void) throws {
        let isComplete = try forEachSandbox(references) { reference in
            try action(reference)
            try Output.write(TerminalText.neutralised(reference) + "\n")
        }
        if !isComplete { throw ExitCode(Self.failureCode) }
    }
}

/// Does the same to each; one that corrald refuses is complained about and does not stop the others. Returns whether all
/// went well.
private func forEachSandbox(_ references: [String], _ action: (String) throws -> Void) throws -> Bool {
    var isComplete = true
    for reference in references {
        do {
            try action(reference)
        } catch let error as ClientError {
            guard case .refused = error else { throw error }
            Complaint.print("\(TerminalText.neutralised(reference)): \(error.description)")
            isComplete = false
        }
    }
    return isComplete
}

private enum Clock {
    /// Nanoseconds since 1970.
    static func now() -> Int64 {
        var time = timespec()
        guard clock_gettime(CLOCK_REALTIME, &time) == 0 else { return 0 }
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }

    /// `5s`, `3m`, `2h`, `4d`.
    static func age(since then: Int64, now: Int64) -> String {
        let (difference, overflow) = now.subtractingReportingOverflow(then)
        let seconds = overflow ? 0 : max(0, difference / 1_000_000_000)
        return switch seconds {
        case ..<60: "\(seconds)s"
        case ..<3600: "\(seconds / 60)m"
        case ..<86_400: "\(seconds / 3600)h"
        default: "\(seconds / 86_400)d"
        }
    }
}
