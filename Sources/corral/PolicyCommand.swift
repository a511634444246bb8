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

/// What a policy is judged against beside its text.
struct HostOptions: ParsableArguments {
    @Option(
        name: .customLong("pool"),
        help: ArgumentHelp(
            "A block that corrald gives its sandboxes addresses from. May be repeated.", valueName: "cidr"),
        transform: { text in
            guard let prefix = IPPrefix(text) else { throw ValidationError("no block of addresses") }
            return prefix
        })
    var pools: [IPPrefix] = []

    @Option(
        name: .customLong("host-address"),
        help: ArgumentHelp(
            "An address of the host to judge for, instead of those that this host has now. May be repeated.",
            valueName: "ip"),
        transform: { text in
            guard let address = IPAddress(text) else { throw ValidationError("no address") }
            return address
        })
    var addresses: [IPAddress] = []

    var context: HostContext {
        HostContext(
            hostAddresses: addresses.isEmpty
                ? HostAddresses.now() : addresses.map { IPPrefix($0, length: 128) },
            sandboxPools: pools)
    }
}

struct PolicyExplain: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain", abstract: "Say what a policy does with a destination, and which rule decides.",
        discussion: """
            Judges with the addresses that this host has now. Those of corrald's sandboxes are not looked up: name its \
            blocks with --pool. An IPv6 address with a port goes in brackets: [2001:db8::1]:443/tcp.
            """
    )

    @Argument(help: ArgumentHelp("Policy file.", valueName: "file"))
    var file: String

    @Argument(help: ArgumentHelp("Where a packet would go.", valueName: "destination[:port][/protocol]"))
    var destination: String

    @OptionGroup var host: HostOptions

    func execute() throws {
        let policy = try PolicyFile.load(file)
        let target: Destination
        do {
            target = try Destination.parse(destination)
        } catch {
            throw ValidationError(TerminalText.lines("\(error)"))
        }
        let explanation = policy.explain(target, host: host.context)
        var text = "\(explanation)\n"
        // A pool is of private addresses.
        if host.pools.isEmpty, explanation.decision.reason != .reservedAddress, !target.address.isGlobalUnicast {
            text +=
                "note: without --pool it is not known whether \(target.address) belongs to a sandbox; such an address is "
            text += "reserved\n"
        }
        try Output.write(TerminalText.lines(text))
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
