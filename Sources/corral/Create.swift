internal import ArgumentParser
internal import CorralAPI

struct Create: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make a sandbox and print its id.",
        discussion: """
            Without a command it waits for those of exec until it is removed, its --timeout is over or corrald ends; with one \
            it is what run --detach makes.
            """
    )
    static let failureCode: Int32 = 125

    @OptionGroup var connection: ConnectionOptions
    @OptionGroup var start: StartOptions
    @OptionGroup var options: CommandOptions

    @Option(
        name: .customLong("rm"), help: ArgumentHelp("Destroy the sandbox after the command.", valueName: "true|false"))
    var remove = false

    @Argument(parsing: .captureForPassthrough, help: ArgumentHelp("Command and its arguments.", valueName: "command"))
    var command: [String] = []

    func validate() throws {
        try CommandWords.check(command, of: Self.self)
    }

    func execute() throws {
        let client = try connection.client()
        let words = CommandWords.of(command)
        var request = try start.request()
        request.command = words.isEmpty ? nil : words
        request.detach = true
        request.autoRemove = remove ? nil : false
        try options.apply(to: &request)
        do {
            try Output.write(try client.createSandbox(request).id + "\n")
        } catch ClientError.refused(let status, let body) {
            throw AttachedCommand.failure(status, body)
        }
    }
}
