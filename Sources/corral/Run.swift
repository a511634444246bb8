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

    func execute() throws { try order().carryOut() }

    func order() throws -> RunOrder {
        var request = try start.request()
        let words = CommandWords.of(command)
        request.command = words.isEmpty ? nil : words
        request.imageCommand = words.isEmpty ? true : nil
        try options.apply(to: &request)
        request.autoRemove = remove ?? !detach ? nil : false
        if detach { request.detach = true }
        return RunOrder(
            connection: connection.choice, request: request, quiet: quiet, timing: timing, hasTerminal: options.tty)
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
