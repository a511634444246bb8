internal import ArgumentParser
internal import CorralEvents
internal import CorralPolicy

struct PolicyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Check, explain and apply policy files. Only apply needs corrald.",
        subcommands: [PolicyValidate.self, PolicyExplain.self, PolicyApply.self]
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

struct PolicyExplain: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Say what a policy does with a destination, and which rule decides.",
        discussion: """
            Judges with the addresses that this host has now; those of corrald's sandboxes are not looked up. \
            An IPv6 address with a port goes in brackets: [2001:db8::1]:443/tcp.
            """
    )

    @Argument(help: ArgumentHelp("Policy file.", valueName: "file"))
    var file: String

    @Argument(help: ArgumentHelp("Where a packet would go.", valueName: "destination[:port][/protocol]"))
    var destination: String

    func execute() throws {
        let policy = try PolicyFile.load(file)
        let target: Destination
        do {
            target = try Destination.parse(destination)
        } catch {
            throw ValidationError(TerminalText.lines("\(error)"))
        }
        let host = HostContext(hostAddresses: HostAddresses.now())
        try Output.write(TerminalText.lines("\(policy.explain(target, host: host))") + "\n")
    }
}

private enum PolicyFile {
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
