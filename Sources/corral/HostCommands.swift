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
        abstract: "Show what this host can do: yes, no or could not tell, what is lost without it, and what to do about it.",
        discussion: "Exits with 1 when something that sandboxes need is missing, or corrald cannot be asked."
    )

    enum Format: String, CaseIterable, ExpressibleByArgument {
        case table
        case json
    }

    @OptionGroup var connection: ConnectionOptions

    @Option(name: .shortAndLong, help: "table or json.")
    var output: Format = .table

    func execute() throws {
        let report = try connection.client().doctor()
        switch output {
        case .json: try Output.write(json: report)
        case .table: try Output.write(Output.columns(report.checks.flatMap(Self.rows)))
        }
        let missing = report.checks.count { $0.needed && $0.answer == .no }
        guard missing == 0 else {
            throw Failure(missing == 1 ? "something needed is missing" : "\(missing) things needed are missing")
        }
    }

    private static func rows(_ check: DoctorReport.Check) -> [[String]] {
        let answer =
            switch check.answer {
            case .yes: "yes"
            case .no: check.needed ? "NO" : "no"
            case .unknown: "could not tell"
            }
        var rows = [[answer, check.feature, check.detail]]
        if check.answer != .yes {
            if let without = check.without { rows.append(["", "", "without it: " + without]) }
            if let remedy = check.remedy { rows.append(["", "", "to do: " + remedy]) }
        }
        return rows.map { $0.map(TerminalText.neutralised) }
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
