internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import CorralPolicy
internal import FoundationEssentials
internal import Glibc

struct Top: ClientCommand {
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case table
        case json
    }

    enum Key: String, CaseIterable, ExpressibleByArgument {
        case cpu
        case memory
        case pids
        case out
        case `in`
        case events
        case denials
        case name
    }

    static let configuration = CommandConfiguration(
        abstract: "Show what sandboxes use and do, again and again.",
        discussion: """
            On a terminal until Ctrl-C. Rates are those since the refresh before; CPU is in percent of one processor. Without a \
            terminal, say how often with -n or --once, which also waits one interval first, so that there are rates.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Sandboxes by id or name; all that run when none is given.")
    var sandbox: [String] = []

    @Option(
        name: [.customShort("d"), .long],
        help: ArgumentHelp("Time between two refreshes, such as 500ms or 5s.", valueName: "duration"))
    var interval = "2s"

    @Option(name: .customShort("n"), help: ArgumentHelp("Refresh this many times, then end.", valueName: "number"))
    var times: Int?

    @Flag(help: "The same as -n 1.")
    var once = false

    @Option(help: "cpu, memory, pids, out, in, events, denials or name.")
    var sort = Key.cpu

    @Option(name: .shortAndLong, help: "table, or json: one object a refresh.")
    var output = Format.table

    private var refreshes: Int? { once ? 1 : times }

    func validate() throws {
        guard let duration = DurationText.parse(interval), duration >= .milliseconds(100), duration <= .seconds(3600)
        else { throw ValidationError("--interval: expected a duration of 100ms to 1h, such as 2s") }
        if let times, times < 1 { throw ValidationError("-n: expected a number above 0") }
        if once, times != nil { throw ValidationError("use one of --once and -n") }
        if refreshes == nil, output == .table, !Output.isTerminal {
            throw ValidationError("standard output is no terminal; use --once, -n or -o json")
        }
    }

    func execute() throws {
        let client = try connection.client()
        let signals = try SignalPipe([SIGINT, SIGTERM])
        let isLive = output == .table && Output.isTerminal && refreshes == nil
        var before = try stats(client)
        if isLive {
            try Output.write(Screen.begin)
            try draw(before.map { Row(stats: $0, rates: nil) }, isLive: true)
        }
        // Whatever ends this leaves the terminal as it was.
        defer { if isLive { try? Output.write(Screen.end) } }
        var left = refreshes
        while left != 0 {
            if try wait(unless: signals.reading) { return }
            let now = try stats(client)
            let earlier = Dictionary(before.map { ($0.id, $0) }) { first, _ in first }
            let rows = now.map { stats in
                Row(stats: stats, rates: earlier[stats.id].flatMap { SandboxRates(from: $0, to: stats) })
            }
            switch output {
            case .table: try draw(rows, isLive: isLive)
            case .json: try write(rows)
            }
            before = now
            left = left.map { $0 - 1 }
        }
    }

    /// One request. Those that were asked for, or all whose command has not ended.
    private func stats(_ client: Client) throws -> [SandboxStats] {
        let all = try client.stats()
        guard !sandbox.isEmpty else { return all.filter { $0.state != .exited && $0.state != .destroyed } }
        return all.filter { stats in sandbox.contains { $0 == stats.name || stats.id.hasPrefix($0) && $0.count > 3 } }
    }

    /// True once somebody wants it to end.
    private func wait(unless interruption: Int32) throws -> Bool {
        let milliseconds = (DurationText.parse(interval) ?? .seconds(2)) / Duration.milliseconds(1)
        var polled = [
            pollfd(fd: interruption, events: Int16(POLLIN), revents: 0),
            pollfd(fd: STDOUT_FILENO, events: 0, revents: 0),
        ]
        guard poll(&polled, nfds_t(polled.count), Int32(milliseconds)) > 0 else { return false }
        if polled[0].revents == 0, Int32(polled[1].revents) & (POLLERR | POLLHUP) != 0 {
            throw ExitCode(128 + SIGPIPE)
        }
        return polled[0].revents != 0
    }

    private struct Row: Encodable {
        var stats: SandboxStats
        /// Nil the first time that the sandbox is seen.
        var rates: SandboxRates?
    }

    private func sorted(_ rows: [Row]) -> [Row] {
        func value(_ row: Row) -> Double {
            switch sort {
            case .cpu: row.rates?.cpuPercent ?? 0
            case .memory: Double(row.stats.memoryBytes)
            case .pids: Double(row.stats.processes)
            case .out: row.rates?.sent ?? 0
            case .in: row.rates?.received ?? 0
            case .events: row.rates?.events ?? 0
            case .denials: row.rates?.denials ?? 0
            case .name: 0
            }
        }
        return rows.sorted { (value($1), $0.stats.name) < (value($0), $1.stats.name) }
    }

    private static let heading = ["NAME", "STATE", "CPU%", "MEMORY", "PIDS", "OUT/s", "IN/s", "EVENTS/s", "DENIED/s"]

    private func draw(_ rows: [Row], isLive: Bool) throws {
        let cells = sorted(rows).map { row in
            [
                TerminalText.neutralised(row.stats.name), row.stats.state.rawValue,
                row.rates.map { Self.decimal($0.cpuPercent) } ?? "-", Self.size(Double(row.stats.memoryBytes)),
                "\(row.stats.processes)", row.rates.map { Self.size($0.sent) } ?? "-",
                row.rates.map { Self.size($0.received) } ?? "-", row.rates.map { Self.decimal($0.events) } ?? "-",
                row.rates.map { Self.decimal($0.denials) } ?? "-",
            ]
        }
        guard isLive else { return try Output.write(table: Self.heading, cells) }
        let size = Screen.size
        var lines = Output.columns([Self.heading] + cells).split(separator: "\n").map {
            String($0.prefix(size.columns))
        }
        let hidden = lines.count - (size.rows - 2)
        if hidden > 0 {
            lines = Array(lines.prefix(max(1, size.rows - 3)))
            lines.append("… and \(rows.count + 1 - lines.count) more")
        }
        let time = rows.first.map { String($0.stats.time.dropFirst(11).prefix(8)) } ?? ""
        let title = "\(rows.count) \(rows.count == 1 ? "sandbox" : "sandboxes")  \(time)"
        try Output.write(Screen.redraw([title] + lines))
    }

    private func write(_ rows: [Row]) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let line = Array(try encoder.encode(["sandboxes": sorted(rows)])) + [UInt8(ascii: "\n")]
        try Output.write(Output.isTerminal ? TerminalJSON.escaped(line) : line)
    }

    /// One digit behind the point.
    static func decimal(_ value: Double) -> String {
        let tenths = UInt64(exactly: (value * 10).rounded()) ?? 0
        return "\(tenths / 10).\(tenths % 10)"
    }

    /// Bytes as `512`, `1.5K`, `20.0M`.
    static func size(_ bytes: Double) -> String {
        var value = bytes
        for unit in ["", "K", "M", "G"] {
            if value < 1024 { return unit.isEmpty ? "\(UInt64(exactly: value.rounded()) ?? 0)" : decimal(value) + unit }
            value /= 1024
        }
        return decimal(value) + "T"
    }
}

/// A terminal that is drawn anew (ECMA-48, and the alternate screen of xterm).
private enum Screen {
    static let begin = "\u{1b}[?1049h\u{1b}[?25l"
    static let end = "\u{1b}[?25h\u{1b}[?1049l"

    static func redraw(_ lines: [String]) -> String {
        "\u{1b}[H" + lines.map { $0 + "\u{1b}[K\r\n" }.joined() + "\u{1b}[J"
    }

    static var size: (rows: Int, columns: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_row > 4, size.ws_col > 0 else {
            return (24, 80)
        }
        return (Int(size.ws_row), Int(size.ws_col))
    }
}
