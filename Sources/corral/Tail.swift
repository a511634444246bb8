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
        abstract: "Show what sandboxes do and what they are refused, as it happens.",
        discussion: "The same option twice means either, different options mean both. Times are UTC."
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

    @Option(help: .hidden) var since: String?
    @Option(help: .hidden) var last: Int?
    @Flag(help: .hidden) var noFollow = false
    @Flag(help: .hidden) var numeric = false

    func validate() throws {
        if since != nil { throw Failure.notSupportedYet("--since") }
        if last != nil { throw Failure.notSupportedYet("--last") }
        if noFollow { throw Failure.notSupportedYet("--no-follow") }
        if numeric { throw Failure.notSupportedYet("--numeric") }
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

    func execute() throws {
        var printer = EventPrinter(format: output, color: isColored)
        let filter = try filter()
        if let input {
            try printer.copy(file: input, matching: filter)
        } else {
            let events = try connection.client().events(matching: filter)
            try printer.begin()
            while let lines = try events.next() { try printer.print(lines, matching: nil) }
            throw Failure("corrald ended the stream")
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
    private let format: Tail.Format
    private let renderer: EventRenderer
    private let isTerminal = Output.isTerminal
    private var lineNumber = 0
    /// Some line was no event.
    private(set) var hasFailed = false

    init(format: Tail.Format, color: Bool) {
        self.format = format
        renderer = EventRenderer(layout: format == .table ? .table : .compact, color: color)
    }

    func begin() throws {
        if format != .json, let heading = renderer.heading { try Output.write(heading) }
    }

    mutating func copy(file: String, matching filter: EventFilter) throws {
        let descriptor = file == "-" ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(file: file, errno: errno) }
        try begin()
        var bytes: [UInt8] = []
        while try TextFile.append(to: &bytes, from: descriptor, file) {
            guard let end = bytes.lastIndex(of: UInt8(ascii: "\n")) else {
                guard bytes.count <= TextFile.limit else { throw Failure(file: file, errno: EFBIG) }
                continue
            }
            try print(Array(bytes[...end]), matching: filter)
            bytes.removeSubrange(...end)
        }
        if !bytes.isEmpty { try print(bytes, matching: filter) }
    }

    /// `filter` is nil when corrald has applied it already.
    mutating func print(_ lines: [UInt8], matching filter: EventFilter?) throws {
        if format == .json, filter == nil {
            return try Output.write(isTerminal ? TerminalJSON.escaped(lines) : lines)
        }
        var output: [UInt8] = []
        for line in lines.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
            lineNumber += 1
            guard !line.isEmpty else { continue }
            do throws(EventParseError) {
                let event = try Event(json: Array(line))
                guard filter?.matches(event) != false else { continue }
                if format == .json {
                    output += isTerminal ? TerminalJSON.escaped(Array(line)) : Array(line)
                    output.append(UInt8(ascii: "\n"))
                } else {
                    output += Array(renderer.line(event).utf8)
                }
            } catch {
                hasFailed = true
                Complaint.print("event \(lineNumber): \(TerminalText.neutralised(error.description))")
            }
        }
        try Output.write(output)
    }
}
