internal import ArgumentParser
internal import CorralAPI
internal import Glibc

/// Commands say their names: deriving one from its type costs each start of the program a good part of a millisecond.
@main
struct Corral: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "corral",
        abstract:
            "Runs commands in sandboxes that reach only what their policy names, and shows what was refused and why.",
        usage: "corral [--host host] [--api-key-file file] <subcommand>",
        discussion: """
            --host names corrald's socket (unix://PATH) or its address (tcp://127.0.0.1:PORT, https://NAME:PORT; with an API \
            key from --api-key-file or CORRAL_API_KEY), before the subcommand or among its options; else the environment's \
            CORRAL_HOST does, else it is \(Client.defaultHost).
            """,
        version: "corral \(Release.version)",
        subcommands: [
            Run.self, Create.self, Exec.self, Attach.self, Logs.self, Ps.self, Inspect.self, Stats.self, Top.self,
            Pause.self,
            Resume.self, Wait.self, Copy.self, ImageCommand.self, SnapshotCommand.self, Kill.self, Remove.self,
            Tail.self, Trace.self,
            AuditCommand.self, PolicyCommand.self, Enforce.self,
            Pool.self, ApiKeyCommand.self,
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

    /// What starts commands is read by itself: looking through all of Corral's subcommands costs some milliseconds more. So
    /// would asking for a completion script, which a command with a `_superCommandName` is not asked for.
    /// Returns where that does not settle it; help and complaints are then those of the whole.
    private static func runAtOnce(_ arguments: [String]) {
        guard let first = arguments.first else { return }
        let words = Array(arguments.dropFirst())
        if first == Run._commandName, let order = RunOrder(plain: words) {
            leave { try Run.telling { try order.carryOut() } }
        }
        let quick: [any ClientCommand.Type] = [Run.self, Exec.self]
        guard let type = quick.first(where: { $0._commandName == first }),
            var command = try? type.parseAsRoot(words) as? any ClientCommand
        else { return }
        leave { try command.run() }
    }

    private static func leave(_ body: () throws -> Void) -> Never {
        do {
            try body()
            exit()
        } catch let code as ExitCode {
            // The parser would put together what to say of it first.
            Glibc.exit(code.rawValue)
        } catch {
            exit(withError: error)
        }
    }

    /// Turns a leading `--host` or `--api-key-file` into CORRAL_HOST or CORRAL_API_KEY_FILE. Declared as an option of the root
    /// command, the parser would also take a `--host` out of the command that `run` is to pass on.
    private static func takeHost(from arguments: [String]) -> [String] {
        guard let first = arguments.first, first.hasPrefix("--") else { return arguments }
        let options = ["--host": "CORRAL_HOST", "--api-key-file": "CORRAL_API_KEY_FILE"]
        if arguments.count >= 2, let variable = options[first] {
            setenv(variable, arguments[1], 1)
            return takeHost(from: Array(arguments.dropFirst(2)))
        }
        if let equals = first.firstIndex(of: "="), let variable = options[String(first[..<equals])] {
            setenv(variable, String(first[first.index(after: equals)...]), 1)
            return takeHost(from: Array(arguments.dropFirst()))
        }
        return arguments
    }
}
