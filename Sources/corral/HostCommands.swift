internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents

struct Pool: ClientCommand {
    static let configuration = CommandConfiguration(abstract: "Show the pool of warm sandboxes.")

    @OptionGroup var connection: ConnectionOptions

    func execute() throws {
        let pool = try connection.client().pool()
        try Output.write(
            Output.columns([
                ["warm", "\(pool.warm) of \(pool.target)"], ["filling", "\(pool.filling)"],
                ["in use", "\(pool.inUse)"],
                ["warm starts", "\(pool.warmStarts)"], ["cold starts", "\(pool.coldStarts)"],
            ])
        )
    }
}

struct Doctor: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what this host can do: yes, no or could not tell, and what is lost without it.",
        discussion: "Exits with 0 whatever the answers are, with 1 when corrald cannot be asked."
    )

    @OptionGroup var connection: ConnectionOptions

    func execute() throws {
        var rows: [[String]] = []
        for check in try connection.client().doctor().checks {
            let answer =
                switch check.answer {
                case .yes: "yes"
                case .no: "no"
                case .unknown: "could not tell"
                }
            rows.append([answer, TerminalText.neutralised(check.feature), TerminalText.neutralised(check.detail)])
            if check.answer != .yes, let without = check.without {
                rows.append(["", "", "without it: " + TerminalText.neutralised(without)])
            }
        }
        try Output.write(Output.columns(rows))
    }
}

struct Version: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the version of this program and, if it can be reached, of corrald.")

    @OptionGroup var connection: ConnectionOptions

    func execute() throws {
        try Output.write("corral \(Release.version)\n")
        do {
            let server = try connection.client().version()
            try Output.write(
                "corrald \(TerminalText.neutralised(server.version)) (instance \(TerminalText.neutralised(server.instance)), "
                    + "ABI \(server.abi), kernel \(TerminalText.neutralised(server.kernel)))\n"
            )
        } catch let error as ClientError {
            guard case .unreachable = error else { throw error }
            try Output.write("corrald: \(error.description)\n")
        }
    }
}
