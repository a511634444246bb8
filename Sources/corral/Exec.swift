internal import ArgumentParser
internal import CorralAPI
internal import Glibc

struct Exec: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "exec", _superCommandName: "corral", abstract: "Run a further command in a running sandbox.",
        discussion: """
            Exits as run does. The command goes on when this program ends, and ends with the sandbox. Its environment, \
            directory and user are the main command's where no option says otherwise.
            """
    )
    static let failureCode: Int32 = 125

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var options: CommandOptions

    @Flag(name: .shortAndLong, help: "Print the command's id and return as soon as it runs; drop what it writes.")
    var detach = false

    @Argument(help: "Sandbox by id or name.")
    var sandbox: String

    @Argument(parsing: .captureForPassthrough, help: ArgumentHelp("Command and its arguments.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        if CommandWords.of(command).isEmpty { throw ValidationError("Missing the command to run.") }
    }

    func execute() throws {
        let client = try connection.client()
        let variables = try options.variables()
        let request = ExecRequest(
            command: CommandWords.of(command), env: variables.isEmpty ? nil : variables,
            workingDirectory: options.workdir, user: try options.commandUser(),
            stdin: options.interactive ? true : nil, terminal: options.terminalSize(), detach: detach ? true : nil)
        if detach { return try Output.write(try start(request, client).id + "\n") }
        let attached = try AttachedCommand(
            client: client, isInteractive: options.interactive, hasTerminal: options.tty)
        let started = try start(request, client)
        do {
            guard let exit = try attached.attach(to: started.sandbox, exec: started.id) else { return }
            throw ExitCode(exit.code)
        } catch ClientError.outputClosed {
            throw ExitCode(128 + SIGPIPE)
        }
    }

    private func start(_ request: ExecRequest, _ client: Client) throws -> SandboxCommand {
        do {
            return try client.exec(sandbox, request)
        } catch ClientError.refused(let status, let body) {
            throw AttachedCommand.failure(status, body)
        }
    }
}

struct Attach: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "attach", abstract: "Connect to the command of a running sandbox.",
        discussion: """
            Shows what it writes from now on; logs shows what it wrote before. Several may read one command, one of them \
            writes its stdin. Signals are passed on; leave a terminal with ^P ^Q. Exits as run does.
            """
    )
    static let failureCode: Int32 = 125

    @OptionGroup var connection: ConnectionOptions

    @Flag(help: "Only read.")
    var noStdin = false

    @Option(help: ArgumentHelp("A command of exec instead of the main one.", valueName: "id"))
    var exec: String?

    @Argument(help: "Sandbox by id or name.")
    var sandbox: String

    func execute() throws {
        let client = try connection.client()
        let id = exec ?? "main"
        let command = try client.commands(of: sandbox).first { $0.id == id }
        guard let command else {
            throw Failure("sandbox \(sandbox) has no command \(id) to attach to")
        }
        let attached = try AttachedCommand(
            client: client, isInteractive: !noStdin, hasTerminal: command.terminal && !noStdin)
        do {
            let exit = try attached.attach(
                to: command.sandbox, exec: exec, claimsStdin: !noStdin)
            guard let exit else { return }
            throw ExitCode(exit.code)
        } catch ClientError.outputClosed {
            throw ExitCode(128 + SIGPIPE)
        }
    }
}
