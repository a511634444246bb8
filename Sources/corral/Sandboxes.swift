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

    @Option(help: "table or json.")
    var format = Format.table

    func execute() throws {
        let sandboxes = try connection.client().sandboxes().filter {
            all || $0.state == .claimed || $0.state == .running
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

    @Argument(help: "Sandboxes by id or name.")
    var sandbox: [String]

    func execute() throws {
        let client = try connection.client()
        let isComplete = try forEachSandbox(sandbox) { reference in
            try client.kill(reference, KillRequest(signal: signal))
            try Output.write(TerminalText.neutralised(reference) + "\n")
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
        let isComplete = try forEachSandbox(sandbox) { reference in
            try client.removeSandbox(reference, force: force)
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
