internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import Glibc

struct Logs: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what the command of a sandbox has written.",
        discussion: """
            corrald holds the last 1 MiB of standard output and of standard error each, until the sandbox is removed. They are \
            written to this program's own.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Flag(name: .shortAndLong, help: "Go on with what it writes, until it ends.")
    var follow = false

    @Option(help: ArgumentHelp("Begin with the last lines.", valueName: "number"))
    var tail: Int?

    @Option(
        help: ArgumentHelp(
            "Begin at a moment: a duration ago, such as 10m, or in UTC, such as 2026-11-24T05:12:01Z.",
            valueName: "time"))
    var since: String?

    @Argument(help: "Sandbox by id or name.")
    var sandbox: String

    func validate() throws {
        if let tail, tail < 0 { throw ValidationError("--tail: expected a number of lines") }
        if let since, Tail.moment(since) == nil {
            throw ValidationError(
                "--since: expected a duration such as 10m, or a moment in UTC such as 2026-11-24T05:12:01Z")
        }
    }

    func execute() throws {
        signal(SIGPIPE, SIG_IGN)
        do {
            try connection.client().logs(
                of: sandbox,
                LogSelection(since: since.flatMap(Tail.moment), lines: tail, follows: follow), output: STDOUT_FILENO
            ) { piece in
                switch piece {
                case .stdout(let bytes): try Output.write(bytes)
                case .stderr(let bytes): try Output.write(bytes, to: STDERR_FILENO)
                case .skipped(let count): Complaint.print("\(count) bytes are held no more")
                }
            }
        } catch ClientError.outputClosed {
            throw ExitCode(128 + SIGPIPE)
        }
    }
}
