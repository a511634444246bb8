internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import CorralPolicy
internal import Glibc

struct Run: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run a command in a fresh sandbox.",
        discussion: """
            Exits with the command's own code; 125 when Corral failed, 126 when the command cannot be executed, 127 when it \
            was not found, 124 when it timed out, 137 when it was killed. Without --policy nothing leaves the sandbox.
            """
    )
    static let failureCode: Int32 = 125
    /// Lines of the summary.
    private static let mostRefusals = 10

    @OptionGroup var connection: ConnectionOptions

    @Option(help: ArgumentHelp("Policy file.", valueName: "file"))
    var policy: String?

    @Option(help: "Image of the root file system; host when neither this nor the policy names one.")
    var image: String?

    @Option(help: "Name of the sandbox.")
    var name: String?

    @Option(
        name: [.long, .customShort("e")],
        help: ArgumentHelp(
            "Set a variable of the command's environment; NAME alone takes its value from here.",
            valueName: "name=value")
    )
    var env: [String] = []

    @Option(help: "CPUs' worth of time, such as 0.5.")
    var cpu: Double?

    @Option(help: "Memory, such as 256MiB.")
    var memory: String?

    @Option(help: "Share of the CPUs when they are short, 1 to 10000; 100 is what others have.")
    var cpuWeight: Int?

    @Option(help: "Most processes and threads at once.")
    var pids: Int?

    @Option(help: "Bytes that the sandbox may write, such as 512MiB.")
    var disk: String?

    @Option(help: "Most descriptors that a process may have open.")
    var openFiles: Int?

    @Option(
        help: ArgumentHelp(
            "Give the command a file's content at /run/secrets/NAME. May be repeated.", valueName: "name=file"))
    var secret: [String] = []

    @Option(help: "Kill the command after this time, such as 5m.")
    var timeout: String?

    @Option(
        name: [.long, .customShort("w")],
        help: ArgumentHelp("Directory in which the command starts.", valueName: "directory"))
    var workdir: String?

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Let connections to a TCP port of the host into the sandbox; without a host port, a free one.",
            valueName: "[address:][port:]port")
    )
    var publish: [String] = []

    @Option(
        name: .customLong("rm"), help: ArgumentHelp("Destroy the sandbox after the command.", valueName: "true|false"))
    var remove = true

    @Flag(name: .shortAndLong, help: "Do not sum up on standard error what was refused.")
    var quiet = false

    @Flag(name: .short, help: "Pass standard input to the command.")
    var interactive = false

    @Flag(name: .short, help: ArgumentHelp("Give the command a terminal. Not supported yet.", visibility: .hidden))
    var tty = false

    @Option(help: ArgumentHelp("Start from a snapshot. Not supported yet.", visibility: .hidden))
    var from: String?

    @Flag(help: .hidden)
    var testKeepCapabilities = false

    @Flag(help: .hidden)
    var testNoSeccomp = false

    @Argument(parsing: .captureForPassthrough, help: ArgumentHelp("Command and its arguments.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        if tty { throw Failure.notSupportedYet("-t") }
        if from != nil { throw Failure.notSupportedYet("--from") }
        // Everything from the first unknown word on is captured, a misspelt option too.
        if command.first == "--help" || command.first == "-h" { throw CleanExit.helpRequest(self) }
        if let first = command.first, first.hasPrefix("-"), first != "--" {
            throw ValidationError("Unknown option '\(first)'. A command that begins with - goes behind --.")
        }
        if arguments.isEmpty { throw ValidationError("Missing the command to run.") }
    }

    private var arguments: [String] { command.first == "--" ? Array(command.dropFirst()) : command }

    func execute() throws {
        let client = try connection.client()
        let request = try request()
        // From here on a ^C is the command's, and waits for it if it has not begun.
        let signals = try SignalPipe([SIGINT, SIGTERM, SIGQUIT, SIGHUP])
        Glibc.signal(SIGPIPE, SIG_IGN)
        let exit = try start(request, client, signals)
        if !quiet { Self.tell(exit.refusals) }
        if exit.cause == .timeout { Complaint.print("the command was killed: timeout") }
        throw ExitCode(exit.code)
    }

    private static func tell(_ refusals: [RefusalSummary]) {
        guard !refusals.isEmpty else { return }
        let total = refusals.reduce(0) { $0 + $1.count }
        Complaint.print("\(total) \(total == 1 ? "attempt was" : "attempts were") refused")
        for refusal in refusals.prefix(mostRefusals) {
            let times = refusal.count > 1 ? " ×\(refusal.count)" : ""
            let hint = refusal.hint.map { ": \($0)" } ?? ""
            Complaint.print(
                "  " + TerminalText.neutralised("\(refusal.what) \(refusal.reason.rawValue)\(times)\(hint)"))
        }
        if refusals.count > mostRefusals { Complaint.print("  and \(refusals.count - mostRefusals) others") }
    }

    private func start(
        _ request: CreateSandboxRequest, _ client: Client, _ signals: SignalPipe
    ) throws -> CommandExit {
        let sandbox: Sandbox
        do {
            sandbox = try client.createSandbox(request)
        } catch ClientError.refused(let status, let body) {
            let code: Int32? =
                switch body.code {
                case "command_not_executable": 126
                case "command_not_found": 127
                default: nil
                }
            throw Failure(ClientError.refused(status: status, body).description, code: code)
        }
        do {
            return try client.attach(
                sandbox.id,
                AttachStreams(
                    stdin: interactive ? STDIN_FILENO : nil, stdout: STDOUT_FILENO, stderr: STDERR_FILENO,
                    signals: signals.reading
                )
            )
        } catch ClientError.outputClosed {
            throw ExitCode(128 + SIGPIPE)
        } catch {
            // Nobody else knows of it. That it may be gone already, with corrald or without, is no further news.
            if remove { try? client.removeSandbox(sandbox.id, force: true) }
            throw error
        }
    }

    private func request() throws -> CreateSandboxRequest {
        var variables: [String: String] = [:]
        for entry in env {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard !parts[0].isEmpty else { throw ValidationError("--env: expected NAME=VALUE") }
            // A variable that is not set here is not set there.
            if let value = parts.count == 2 ? parts[1] : Environment[parts[0]] { variables[parts[0]] = value }
        }
        let ports = try publish.map { text in
            guard let port = PublishedPort(text) else {
                throw ValidationError("--publish: expected [address:][port:]port, such as 8080:80 or 127.0.0.1:8080:80")
            }
            return port
        }
        let limits = LimitOverrides(
            cpu: cpu, cpuWeight: cpuWeight, memory: memory, pids: pids, disk: disk, openFiles: openFiles,
            timeout: timeout)
        return CreateSandboxRequest(
            name: name, image: image,
            policy: try policy.map { PolicySource(file: $0, yaml: try TextFile.read($0)) },
            command: arguments, env: variables.isEmpty ? nil : variables, workingDirectory: workdir,
            limits: limits == LimitOverrides() ? nil : limits, stdin: interactive ? true : nil,
            autoRemove: remove ? nil : false,
            testSwitches: testKeepCapabilities || testNoSeccomp
                ? .init(keepCapabilities: testKeepCapabilities, noSeccomp: testNoSeccomp) : nil,
            publish: ports.isEmpty ? nil : ports, secrets: try SecretFiles.read(secret)
        )
    }
}
