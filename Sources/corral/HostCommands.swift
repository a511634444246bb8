internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents

struct Pool: ClientCommand {
    static let configuration = CommandConfiguration(abstract: "Show the pool of warm sandboxes.")

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
