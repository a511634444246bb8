internal import ArgumentParser
internal import CorralEvents
internal import CorralPolicy

struct PolicyTest: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "test", abstract: "Hold a policy to a list of what it should say.",
        discussion: """
            Prints one line a case (TAP, so that test tools can read it). Exits with 0 when every case is as expected, 1 when \
            one is not, 2 when a file cannot be read. Addresses of hosts and sandboxes count as such only when they are named, \
            so that the result is the same everywhere.
            """
    )

    static let failureCode: Int32 = 2

    @Argument(help: ArgumentHelp("Policy file.", valueName: "file"))
    var file: String

    @Argument(help: ArgumentHelp("File of cases.", valueName: "cases"))
    var cases: String

    @OptionGroup var host: HostOptions

    func execute() throws {
        let policy = try PolicyFile.load(file)
        let text = try TextFile.read(cases)
        let tests: PolicyCases
        do throws(PolicyError) {
            tests = try PolicyCases(yaml: text, file: cases)
        } catch {
            throw Failure(TerminalText.lines(error.description))
        }
        let outcomes = tests.run(on: policy, host: host.namedContext)
        var lines = "TAP version 13\n1..\(outcomes.count)\n"
        for (index, outcome) in outcomes.enumerated() {
            lines += "\(outcome.passes ? "ok" : "not ok") \(index + 1) - \(TerminalText.neutralised("\(outcome)"))\n"
            guard !outcome.passes else { continue }
            lines += "# \(TerminalText.neutralised(cases)):\(outcome.tested.line)\n"
            if let hint = outcome.hint { lines += "# hint: \(TerminalText.neutralised(hint))\n" }
        }
        try Output.write(lines)
        if outcomes.contains(where: { !$0.passes }) { throw ExitCode(1) }
    }
}
