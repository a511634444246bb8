internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import CorralPolicy
internal import FoundationEssentials
internal import Glibc

struct Trace: ClientCommand {
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case lines
        case json
    }

    static let configuration = CommandConfiguration(
        commandName: "trace", abstract: "Show the system calls of a sandbox, until its command ends.",
        discussion: """
            Switches the trace on for as long as it runs, whatever the sandbox's policy asks for. A call that the sandbox's \
            seccomp profile refused is marked; one that began before the trace is shown as resumed.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Sandbox by id or name.")
    var sandbox: String

    @Option(
        name: [.customShort("e"), .customLong("syscall")],
        help: ArgumentHelp(
            "Calls, or groups of them such as @network, separated by commas; or first: the first of each call that a thread "
                + "makes, and every one that is refused. All when none is given.",
            valueName: "name|@group"))
    var syscalls: [String] = []

    @Flag(name: [.customShort("c"), .customLong("count")], help: "Count, and print a table at the end.")
    var counts = false

    @Flag(name: [.customShort("t"), .customLong("time")], help: "Begin each line with the time, in UTC.")
    var time = false

    @Flag(
        name: [.customShort("y"), .customLong("decode-fds")],
        help: "Show what descriptors stand for, as far as the calls that were seen tell.")
    var namesDescriptors = false

    @Option(name: .shortAndLong, help: "lines or json.")
    var output = Format.lines

    func validate() throws {
        if counts, output == .json {
            throw ValidationError("--count prints a table; use one of --count and --output json")
        }
        if namesDescriptors, counts || output == .json {
            throw ValidationError("--decode-fds is for lines; JSON has the calls as they were")
        }
        if counts, time { throw ValidationError("--count prints a table; it has no lines to put the time before") }
    }

    func execute() throws {
        let words = syscalls.flatMap { $0.split(separator: ",").map(String.init) }
        let client = try connection.client()
        let lines = try client.trace(sandbox, syscalls: counts ? ["counts"] : words)
        if counts {
            try count(lines, client, words)
        } else {
            var printer = TracePrinter(
                showsTime: time, isJSON: output == .json, namesDescriptors: namesDescriptors)
            while let piece = try lines.next() { try printer.print(piece) }
        }
    }

    /// Until the command ends, or somebody has seen enough.
    private func count(_ lines: EventPieces, _ client: Client, _ words: [String]) throws {
        let signals = try SignalPipe([SIGINT, SIGTERM])
        let before = try client.syscalls(of: sandbox)
        var last = SyscallCounts(syscalls: [])
        while let piece = try lines.next(orReadable: signals.reading) {
            guard case .lines(let lines) = piece else { continue }
            if lines.isEmpty {
                last = try client.syscalls(of: sandbox).since(before)
                break
            }
            if let counts = CountTable.counts(in: lines) { last = counts }
        }
        try Output.write(try CountTable.text(last, words))
    }
}

/// Events as strace would write them.
private struct TracePrinter {
    let showsTime: Bool
    let isJSON: Bool
    private let isTerminal = Output.isTerminal
    private let records = TraceRecords()
    private let buffer = LineBuffer()
    /// Nil: descriptors are shown as numbers alone.
    private var names: DescriptorNames?

    init(showsTime: Bool, isJSON: Bool, namesDescriptors: Bool) {
        self.showsTime = showsTime
        self.isJSON = isJSON
        names = namesDescriptors ? DescriptorNames() : nil
    }

    mutating func print(_ piece: EventPiece) throws {
        buffer.clear()
        switch piece {
        case .source(let source): return records.learn(source)
        case .records(let bytes):
            if isJSON {
                try records.appendLines(of: bytes, to: buffer)
            } else {
                for event in try records.events(bytes) { append(event) }
            }
        case .lines(let lines):
            if isJSON {
                buffer.append(lines)
            } else {
                for line in lines.split(separator: UInt8(ascii: "\n")) { append(line: line) }
            }
        }
        if isJSON, isTerminal { return try Output.write(TerminalJSON.escaped(Array(buffer.bytes))) }
        try Output.write(buffer.bytes)
    }

    private mutating func append(line: ArraySlice<UInt8>) {
        // The last line, which is for those who count.
        if CountTable.isCounts(line) { return }
        do throws(EventParseError) {
            append(try Event(json: Array(line)))
        } catch {
            Complaint.print("an event could not be read: \(TerminalText.neutralised(error.description))")
        }
    }

    private mutating func append(_ event: Event) {
        guard let text = text(names?.named(event) ?? event) else { return }
        buffer.append(Array((text + "\n").utf8))
    }

    private func text(_ event: Event) -> String? {
        let text: String
        switch event.body {
        case .syscall(let call):
            text = "\(prefix(call.thread))\(call.line)"
        case .process(let change):
            guard case .exit(let ending, _) = change.action else { return nil }
            switch ending {
            case .code(let code): text = "\(prefix(change.process.pid))+++ exited with \(code) +++"
            case .signal(let signal, let dumpedCore):
                let core = dumpedCore ? " (core dumped)" : ""
                text = "\(prefix(change.process.pid))+++ killed by \(SignalNumber.name(signal))\(core) +++"
            }
        case .lost(let loss):
            text = "--- \(loss.count) events lost (\(loss.place.rawValue)) ---"
        default: return nil
        }
        guard showsTime else { return text }
        var bytes: [UInt8] = []
        RFC3339.appendTimeOfDay(event.time, to: &bytes)
        return String(decoding: bytes, as: UTF8.self) + " " + text
    }

    private func prefix(_ thread: UInt32) -> String {
        let number = String(thread)
        return "[pid \(String(repeating: " ", count: max(0, 5 - number.count)))\(number)] "
    }
}

/// What `strace -c` prints.
enum CountTable {
    private static let beginning = Array("{\"syscalls\":".utf8)

    static func isCounts(_ line: some Collection<UInt8>) -> Bool { line.starts(with: beginning) }

    /// Those in the last of some lines; nil when there are none.
    static func counts(in lines: [UInt8]) -> SyscallCounts? {
        guard let line = lines.split(separator: UInt8(ascii: "\n")).last(where: { isCounts($0) }) else { return nil }
        return try? JSONDecoder().decode(SyscallCounts.self, from: Data(line))
    }

    /// - Parameter words: calls and groups to show; empty for all.
    static func text(_ counts: SyscallCounts, _ words: [String]) throws -> String {
        let wanted: TraceSelection
        do {
            wanted = try TraceSelection(words: words)
        } catch {
            throw Failure(TerminalText.neutralised(error.description))
        }
        let entries = counts.syscalls.filter { wanted.includes($0.name, SyscallABI(rawValue: $0.abi) ?? .amd64) }
            .sorted { ($0.durationNs, $0.calls, $1.name) > ($1.durationNs, $1.calls, $0.name) }
        let total = entries.reduce(0.0) { $0 + Double($1.durationNs) }
        var text = line("% time", "seconds", "usecs/call", "calls", "errors", "refused", "syscall")
        text += rule
        for entry in entries {
            let share = total > 0 ? Double(entry.durationNs) / total * 100 : 0
            let each = entry.calls > 0 ? entry.durationNs / entry.calls / 1000 : 0
            let abi = SyscallABI(rawValue: entry.abi)?.isMarked == true ? " [\(entry.abi)]" : ""
            text += line(
                decimal(share, 2), seconds(Double(entry.durationNs)), "\(each)", "\(entry.calls)", shown(entry.errors),
                shown(entry.refused), TerminalText.neutralised(entry.name) + abi)
        }
        let calls = entries.reduce(0 as UInt64) { $0 &+ $1.calls }
        text += rule
        return text
            + line(
                "100.00", seconds(total), calls > 0 ? "\(UInt64(total) / calls / 1000)" : "0", "\(calls)",
                shown(entries.reduce(0) { $0 &+ $1.errors }), shown(entries.reduce(0) { $0 &+ $1.refused }), "total")
    }

    private static let rule = "------ ----------- ----------- --------- --------- --------- ----------------\n"

    private static func line(
        _ share: String, _ seconds: String, _ each: String, _ calls: String, _ errors: String, _ refused: String,
        _ name: String
    ) -> String {
        zip([share, seconds, each, calls, errors, refused], [6, 11, 11, 9, 9, 9]).map { text, width in
            String(repeating: " ", count: max(0, width - text.count)) + text
        }.joined(separator: " ") + " \(name)\n"
    }

    private static func shown(_ count: UInt64) -> String { count == 0 ? "" : "\(count)" }

    private static func seconds(_ nanoseconds: Double) -> String { decimal(nanoseconds / 1e9, 6) }

    private static func decimal(_ value: Double, _ digits: Int) -> String {
        var factor = 1.0
        for _ in 0..<digits { factor *= 10 }
        let scaled = UInt64(exactly: (value * factor).rounded()) ?? 0
        let fraction = String(scaled % UInt64(factor))
        return "\(scaled / UInt64(factor))." + String(repeating: "0", count: digits - fraction.count) + fraction
    }
}
