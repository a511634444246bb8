internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import CorralPolicy
internal import Glibc

struct Tail: ClientCommand {
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case compact
        case json
        case table
    }

    enum Color: String, CaseIterable, ExpressibleByArgument {
        case auto
        case always
        case never
    }

    static let configuration = CommandConfiguration(
        commandName: "tail", abstract: "Show what sandboxes do and what they are refused, as it happens.",
        discussion: """
            The same option twice means either, different options mean both. Times are UTC.

            With --since, --last or --no-follow it begins with events of the past, out of the audit journal, which holds all \
            but syscalls. When corrald restarts, tail goes on: a gap event tells of the time between.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Sandboxes by id or name; all when none is given.")
    var sandbox: [String] = []

    @Option(
        name: [.customShort("e"), .customLong("type")],
        help: ArgumentHelp("Types of event, separated by commas.", valueName: "type"))
    var types: [String] = []

    @Option(help: "allow, deny or would_deny.")
    var verdict: [String] = []

    @Option(help: "Reason of a decision, such as no_matching_rule.")
    var reason: [String] = []

    @Option(help: ArgumentHelp("The other side's address, block or name.", valueName: "cidr|name"))
    var dst: [String] = []

    @Option(name: .shortAndLong, help: "compact, json (as it comes) or table.")
    var output = Format.compact

    @Option(help: "auto, always or never.")
    var color = Color.auto

    @Option(
        help: ArgumentHelp(
            "Read events from a file of JSON lines, or from standard input (-), instead of corrald.",
            valueName: "file|-"))
    var input: String?

    @Option(
        help: ArgumentHelp(
            "Begin with events of the past: of this long ago (10m, 2h30m), or from this moment on (2026-11-24T05:12:01Z).",
            valueName: "time"))
    var since: String?

    @Option(help: ArgumentHelp("Begin with the newest events of the past, at most this many.", valueName: "number"))
    var last: Int?

    @Flag(help: "End with the last event of the past instead of waiting for more.")
    var noFollow = false

    @Flag(help: "Show addresses without the names that stand for them.")
    var numeric = false

    func validate() throws {
        if let last, !(0...Self.mostEvents).contains(last) {
            throw ValidationError("--last: expected a number of 0 to \(Self.mostEvents)")
        }
        if let since, Self.moment(since) == nil {
            throw ValidationError(
                "--since: expected a duration such as 10m, or a moment in UTC such as 2026-11-24T05:12:01Z")
        }
        do {
            _ = try filter()
        } catch {
            throw ValidationError(error.description)
        }
    }

    private func filter() throws(EventFilterError) -> EventFilter {
        var filter = EventFilter()
        for value in sandbox { try filter.add(.sandbox, value) }
        for value in types.flatMap({ $0.split(separator: ",", omittingEmptySubsequences: false) }) {
            try filter.add(.type, String(value))
        }
        for value in verdict { try filter.add(.verdict, value) }
        for value in reason { try filter.add(.reason, value) }
        for value in dst { try filter.add(.dst, value) }
        return filter
    }

    /// Larger numbers of events are asked for by time.
    private static let mostEvents = 1_000_000

    /// Nanoseconds since 1970.
    static func moment(_ text: String) -> Int64? {
        guard let ago = DurationText.parse(text) else { return RFC3339.nanoseconds(text) }
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        let (seconds, attoseconds) = ago.components
        return (Int64(now.tv_sec) - seconds) * 1_000_000_000 + Int64(now.tv_nsec) - attoseconds / 1_000_000_000
    }

    func execute() throws {
        var printer = EventPrinter(format: output, color: isColored, numeric: numeric)
        let filter = try filter()
        let since = since.flatMap(Self.moment)
        if let input {
            try printer.copy(file: input, EventPrinter.Selection(filter: filter, since: since, last: last))
        } else {
            do {
                let span = Client.EventSpan(since: since, last: last, follow: !noFollow)
                var events = try EventFollower(connection.client(), matching: filter, span, output: STDOUT_FILENO)
                try printer.begin()
                while let piece = try events.next() { try printer.print(piece) }
            } catch ClientError.outputClosed {
                throw ExitCode(128 + SIGPIPE)
            }
        }
        if printer.hasFailed { throw ExitCode(Self.failureCode) }
    }

    private var isColored: Bool {
        switch color {
        case .always: true
        case .never: false
        case .auto: Output.isTerminal && Environment["NO_COLOR"] == nil && Environment["TERM"] != "dumb"
        }
    }
}

/// JSON lines in, lines for people or for programs out.
private struct EventPrinter {
    /// Which lines of a file are wanted.
    struct Selection {
        var filter: EventFilter
        var since: Int64?
        /// No more than the newest of this number.
        var last: Int?

        func contains(_ event: Event) -> Bool {
            since.map { event.time >= $0 } != false && filter.matches(event)
        }
    }

    private let format: Tail.Format
    private let renderer: EventRenderer
    private let isTerminal = Output.isTerminal
    private let records = TraceRecords()
    private let buffer = LineBuffer()
    private var lineNumber = 0
    /// Where lines are from, for complaints.
    private var source = "event stream"
    /// Some line was no event.
    private(set) var hasFailed = false

    init(format: Tail.Format, color: Bool, numeric: Bool) {
        self.format = format
        renderer = EventRenderer(layout: format == .table ? .table : .compact, color: color, numeric: numeric)
    }

    func begin() throws {
        if format != .json, let heading = renderer.heading { try Output.write(heading) }
    }

    mutating func copy(file: String, _ selection: Selection) throws {
        let descriptor = file == "-" ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(file: file, errno: errno) }
        defer { if descriptor != STDIN_FILENO { close(descriptor) } }
        source = file == "-" ? "standard input" : TerminalText.neutralised(file)
        try begin()
        var bytes: [UInt8] = []
        // Rendered lines that may be among the last.
        var kept: [[UInt8]] = []
        func take(_ lines: [[UInt8]]) throws {
            guard let last = selection.last else { return try Output.write(Array(lines.joined())) }
            kept += lines
            if kept.count > 2 * last + 1024 { kept.removeFirst(kept.count - last) }
        }
        while try TextFile.append(to: &bytes, from: descriptor, file) {
            guard let end = bytes.lastIndex(of: UInt8(ascii: "\n")) else {
                guard bytes.count <= TextFile.limit else { throw Failure(file: file, errno: EFBIG) }
                continue
            }
            try take(rendered(bytes[...end], selection))
            bytes.removeSubrange(...end)
        }
        if !bytes.isEmpty { try take(rendered(bytes[...], selection)) }
        if let last = selection.last { try Output.write(Array(kept.suffix(last).joined())) }
    }

    /// What corrald has chosen.
    mutating func print(_ piece: EventPiece) throws {
        switch piece {
        case .lines(let lines): try print(lines)
        case .source(let source): records.learn(source)
        case .records(let bytes):
            buffer.clear()
            if format != .json {
                for event in try records.events(bytes) { buffer.append(Array(renderer.line(event).utf8)) }
                return try Output.write(buffer.bytes)
            }
            try records.appendLines(of: bytes, to: buffer)
            if isTerminal { return try Output.write(TerminalJSON.escaped(Array(buffer.bytes))) }
            try Output.write(buffer.bytes)
        }
    }

    private mutating func print(_ lines: [UInt8]) throws {
        if format == .json { return try Output.write(isTerminal ? TerminalJSON.escaped(lines) : lines) }
        try Output.write(Array(rendered(lines[...], nil).joined()))
    }

    private mutating func rendered(_ lines: ArraySlice<UInt8>, _ selection: Selection?) -> [[UInt8]] {
        var output: [[UInt8]] = []
        for line in lines.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            // What stands behind the last line break is no line.
            if line.isEmpty, line.endIndex == lines.endIndex { continue }
            lineNumber += 1
            guard !line.isEmpty else { continue }
            do throws(EventParseError) {
                let event = try Event(json: Array(line))
                guard selection?.contains(event) != false else { continue }
                if format == .json {
                    output.append((isTerminal ? TerminalJSON.escaped(Array(line)) : Array(line)) + [UInt8(ascii: "\n")])
                } else {
                    output.append(Array(renderer.line(event).utf8))
                }
            } catch {
                hasFailed = true
                Complaint.print("\(source):\(lineNumber): \(TerminalText.neutralised(error.description))")
            }
        }
        return output
    }
}
