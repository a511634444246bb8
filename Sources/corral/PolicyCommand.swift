internal import ArgumentParser
internal import CorralEvents
internal import CorralPolicy

struct PolicyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy",
        abstract: "Check, explain, test, compare, apply and learn policies. Only apply and learn need corrald.",
        subcommands: [
            PolicyValidate.self, PolicyExplain.self, PolicyTest.self, PolicyDiffCommand.self, PolicyApply.self,
            PolicyLearn.self,
        ]
    )
}

struct PolicyValidate: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "validate", abstract: "Check policy files.",
        discussion:
            "Every problem is one line on standard error: file, line, field and what was expected. Exits with 1 if there is one."
    )

    @Argument(help: ArgumentHelp("Policy files.", valueName: "file"))
    var files: [String]

    func execute() throws {
        var isValid = true
        for file in files {
            do {
                let policy = try PolicyFile.load(file)
                try Output.write("\(TerminalText.neutralised(file)): \(TerminalText.lines(policy.summary))\n")
            } catch let problem as Failure {
                Complaint.print(problem.message)
                isValid = false
            }
        }
        if !isValid { throw ExitCode(Self.failureCode) }
    }
}

enum PolicyFile {
    /// Throws `Failure` with one problem a line.
    static func load(_ path: String) throws -> Policy {
        let text = try TextFile.read(path)
        do throws(PolicyError) {
            return try Policy(yaml: text, file: path)
        } catch {
            throw Failure(TerminalText.lines(error.description))
        }
    }
}

extension TerminalText {
    /// Each line neutralised, the line breaks kept.
    static func lines(_ text: String) -> String {
        text.split(separator: "\n", omittingEmptySubsequences: false).map { neutralised(String($0)) }.joined(
            separator: "\n")
    }
}
