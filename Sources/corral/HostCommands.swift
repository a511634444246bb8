internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents

struct Pool: ClientCommand {
    static let configuration = CommandConfiguration(commandName: "pool", abstract: "Show the pool of warm sandboxes.")

    @OptionGroup var connection: ConnectionOptions

    func execute() throws {
        let pool = try connection.client().pool()
        var rows = [["IMAGE", "WARM", "TARGET", "FILLING", "IN USE", "WARM STARTS", "COLD STARTS"]]
        for shape in pool.shapes {
            rows.append([
                TerminalText.neutralised(shape.image), "\(shape.warm)", "\(pool.target)", "\(shape.filling)",
                "\(shape.inUse)", "\(shape.warmStarts)", "\(shape.coldStarts)",
            ])
        }
        try Output.write(Output.columns(rows))
        var times = [["START", "P50", "P90", "P99"]]
        for (name, start) in [("warm", pool.warmStart), ("cold", pool.coldStart)] {
            guard let start else { continue }
            times.append([name] + [start.p50, start.p90, start.p99].map(Self.milliseconds))
        }
        if times.count > 1 { try Output.write("\n" + Output.columns(times)) }
        if pool.low < pool.target { try Output.write("\nrefilled below \(pool.low)\n") }
        if pool.destroying > 0 { try Output.write("\n\(pool.destroying) being destroyed\n") }
    }

    /// `0.41 ms`
    private static func milliseconds(_ microseconds: UInt64) -> String {
        let hundredths = microseconds / 10 % 100
        return "\(microseconds / 1000).\(hundredths < 10 ? "0" : "")\(hundredths) ms"
    }
}

struct Doctor: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract:
            "Show what this host can do: yes, no or could not tell, what is lost without it, and what to do about it.",
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
        commandName: "version", abstract: "Show the version of this program and, if it can be reached, of corrald.")

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
