internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents

struct PolicyApply: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply", abstract: "Replace the policy of a running sandbox.",
        discussion: """
            From one packet to the next the new policy decides. TCP connections that it refuses are reset, everything else \
            it refuses is dropped, and what it permits goes on undisturbed. Limits on resources, files and environment stay \
            those of the start.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Sandbox by id or name.")
    var sandbox: String

    @Argument(help: ArgumentHelp("Policy file.", valueName: "file"))
    var file: String

    func execute() throws {
        let source = PolicySource(file: file, yaml: try TextFile.read(file))
        let changed = try connection.client().applyPolicy(source, to: sandbox)
        let (name, policy) = (TerminalText.neutralised(changed.name), TerminalText.neutralised(changed.policy.name))
        try Output.write("\(name): policy \(policy), generation \(changed.policy.generation)\n")
    }
}
