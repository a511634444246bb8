internal import ArgumentParser
internal import CorralAPI
internal import Glibc

@main
struct Corral: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "corral",
        abstract:
            "Runs commands in sandboxes that reach only what their policy names, and shows what was refused and why.",
        usage: "corral [--host unix://path] <subcommand>",
        discussion: """
            --host names corrald's socket, before the subcommand or among its options; else the environment's CORRAL_HOST \
            does, else it is \(Client.defaultHost).
            """,
        version: "corral \(Release.version)",
        subcommands: [
            Run.self, Create.self, Exec.self, Attach.self, Logs.self, Ps.self, Inspect.self, Stats.self, Top.self,
            Pause.self,
            Resume.self, Wait.self, Copy.self, ImageCommand.self, SnapshotCommand.self, Kill.self, Remove.self,
            Tail.self, Trace.self,
            AuditCommand.self, PolicyCommand.self, Enforce.self,
            Pool.self,
            Doctor.self,
            Version.self, Completion.self,
        ]
    )

    static let _errorLabel = "corral"

    static func main() {
        ProgramStart.note()
        // Were one of them closed, the next descriptor opened would take its place and be read or written as it.
        for descriptor in STDIN_FILENO...STDERR_FILENO where fcntl(descriptor, F_GETFD) < 0 {
            _ = open("/dev/null", O_RDWR)
        }
        let arguments = takeHost(from: Array(CommandLine.arguments.dropFirst()))
        runAtOnce(arguments)
        main(arguments)
    }

    /// What starts commands is parsed by itself: looking through all of Corral's subcommands costs some milliseconds more.
    /// Returns where that does not settle it; help and complaints are then those of the whole.
    private static func runAtOnce(_ arguments: [String]) {
        let quick: [any ClientCommand.Type] = [Run.self, Exec.self]
        guard let type = quick.first(where: { $0._commandName == arguments.first }),
            var command = try? type.parseAsRoot(Array(arguments.dropFirst())) as? any ClientCommand
        else { return }
        do {
            try command.run()
            exit()
        } catch {
            exit(withError: error)
        }
    }

    /// Turns a leading `--host` into CORRAL_HOST. Declared as an option of the root command, the parser would also take a
    /// `--host` out of the command that `run` is to pass on.
    private static func takeHost(from arguments: [String]) -> [String] {
        let option = "--host"
        if arguments.count >= 2, arguments[0] == option {
            setenv("CORRAL_HOST", arguments[1], 1)
            return Array(arguments.dropFirst(2))
        }
        if let first = arguments.first, first.hasPrefix(option + "=") {
            setenv("CORRAL_HOST", String(first.dropFirst(option.count + 1)), 1)
            return Array(arguments.dropFirst())
        }
        return arguments
    }
}
