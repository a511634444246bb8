internal import ArgumentParser
internal import CorralEvents
internal import CorralPolicy

struct PolicyDiffCommand: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff", abstract: "Say what changes for destinations between two policies.",
        discussion: """
            Compares what the policies do, not how they are written: blocks of addresses, names and settings whose answer \
            differs, with what was permitted before and is after. Exits with 0 when nothing changes, 1 when something does, \
            2 when a policy cannot be read. Addresses of hosts and sandboxes count as such only when they are named.
            """
    )

    static let failureCode: Int32 = 2

    enum Format: String, CaseIterable, ExpressibleByArgument {
        case text
        case json
    }

    @Argument(help: ArgumentHelp("Policy file that is in force.", valueName: "old"))
    var old: String

    @Argument(help: ArgumentHelp("Policy file that is to follow.", valueName: "new"))
    var new: String

    @Option(name: .shortAndLong, help: "How to print the changes: text or json.")
    var output: Format = .text

    @OptionGroup var host: HostOptions

    func execute() throws {
        let (before, after) = (try PolicyFile.load(old), try PolicyFile.load(new))
        let diff: PolicyDiff
        do throws(PolicyError) {
            diff = try PolicyDiff(from: before, to: after, host: host.namedContext)
        } catch {
            throw Failure(TerminalText.lines(error.description))
        }
        switch output {
        case .json: try Output.write(json: diff)
        case .text where !diff.isEmpty: try Output.write(TerminalText.lines(diff.description) + "\n")
        case .text: break
        }
        if !diff.isEmpty { throw ExitCode(1) }
    }
}
