internal import ArgumentParser
internal import CorralAPI
internal import Glibc

struct Run: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "run", _superCommandName: "corral", abstract: "Run a command in a fresh sandbox.",
        discussion: """
            Exits with the command's own code; 125 when Corral failed, 126 when the command cannot be executed, 127 when it \
            was not found, 124 when it timed out, 137 when it was killed. Without --policy nothing leaves the sandbox.
            """
    )
    static let failureCode: Int32 = 125

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var start: StartOptions
    @OptionGroup var options: CommandOptions

    @Flag(name: .shortAndLong, help: "Print the sandbox's id and return as soon as the command runs.")
    var detach = false

    @Option(
        name: .customLong("rm"),
        help: ArgumentHelp(
            "Destroy the sandbox after the command; true, or false with --detach.", valueName: "true|false"))
    var remove: Bool?

    @Flag(name: .shortAndLong, help: "Do not sum up on standard error what was refused.")
    var quiet = false

    @Flag(help: "Tell on standard error how long each step took, in microseconds.")
    var timing = false

    @Argument(parsing: .captureForPassthrough, help: ArgumentHelp("Command and its arguments.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        try CommandWords.check(command, of: Self.self)
        if CommandWords.of(command).isEmpty, start.image == nil, start.from == nil {
            throw ValidationError("Missing the command to run.")
        }
        if detach, timing { throw ValidationError("--timing is of a run that is waited for.") }
    }

    func execute() throws {
        var report = timing ? TimingReport() : nil
        let client = try connection.client()
        var request = try start.request()
        let words = CommandWords.of(command)
        request.command = words.isEmpty ? nil : words
        request.imageCommand = words.isEmpty ? true : nil
        try options.apply(to: &request)
        request.autoRemove = remove ?? !detach ? nil : false
        if detach {
            request.detach = true
            return try Output.write(try create(request, client).id + "\n")
        }
        let attached = try AttachedCommand(
            client: client, isInteractive: options.interactive, hasTerminal: options.tty)
        report?.end("prepare")
        if timing {
            try client.connect()
            report?.end("connect")
        }
        let sandbox = try create(request, client)
        if let times = sandbox.timing { report?.started(times) }
        let progress = timing ? AttachProgress() : nil
        let exit: CommandExit?
        do {
            exit = try attached.attach(to: sandbox.id, progress: progress)
        } catch ClientError.outputClosed {
            throw ExitCode(128 + SIGPIPE)
        } catch {
            // Nobody else knows of it. That it may be gone already, with corrald or without, is no further news.
            if request.autoRemove != false { try? client.removeSandbox(sandbox.id, force: true) }
            throw error
        }
        guard let exit else { return }
        if !quiet { AttachedCommand.tell(exit.refusals) }
        if exit.cause == .timeout { Complaint.print("the command was killed: timeout") }
        if let progress {
            report?.ended(progress)
            report?.print()
        }
        throw ExitCode(exit.code)
    }

    private func create(_ request: CreateSandboxRequest, _ client: Client) throws -> (id: String, timing: StartTimes?) {
        do {
            guard timing else { return (try client.createSandboxID(request), nil) }
            let sandbox = try client.createSandbox(request)
            return (sandbox.id, sandbox.timing)
        } catch ClientError.refused(let status, let body) {
            throw AttachedCommand.failure(status, body)
        }
    }
}

extension CommandOptions {
    func apply(to request: inout CreateSandboxRequest) throws {
        let variables = try variables()
        request.env = variables.isEmpty ? nil : variables
        request.workingDirectory = workdir
        request.user = try commandUser()
        request.stdin = interactive ? true : nil
        request.terminal = terminalSize()
    }
}
