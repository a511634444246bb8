internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import CorralPolicy
internal import Glibc

struct PolicyLearn: ClientCommand {
    enum CallList: String, CaseIterable, ExpressibleByArgument {
        case seen
        case tried
        case none

        var calls: PolicyLearner.Calls {
            switch self {
            case .seen: .seen
            case .tried: .tried
            case .none: .none
            }
        }
    }

    static let configuration = CommandConfiguration(
        commandName: "learn", abstract: "Write the smallest policy that permits what a command does.",
        discussion: """
            Runs the command in a sandbox that refuses nothing of the network and reports everything, and writes a policy with \
            the names, addresses, ports, protocols and system calls that it used; or does so from events that corral tail \
            -o json has saved. Reserved addresses that it reached for, and calls that the default profile refused, are listed as \
            comments, and stay refused.

            What the command does while it is watched, it does: run nothing here that you would not run without a policy.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "File to write. Without it the policy goes to standard output, and the command's output to standard error.",
            valueName: "file"))
    var output: String?

    @Option(help: ArgumentHelp("Learn from events in a file, or on standard input (-).", valueName: "file|-"))
    var input: String?

    @Option(help: "With --input: only the events of this sandbox, by id or name.")
    var sandbox: String?

    @Option(help: "Name of the policy.")
    var name = "learned"

    @Option(help: "Image of the sandbox's file system.")
    var image: String?

    @Option(
        name: [.long, .customShort("e")],
        help: ArgumentHelp(
            "Set a variable of the command's environment; NAME alone takes its value from here.",
            valueName: "name=value"))
    var env: [String] = []

    @Option(
        help: ArgumentHelp(
            "System calls that the policy permits: those seen; tried, which is those and the ones that were refused; or "
                + "none, which leaves it to the default profile. Seen, where it is not given; with --input, none.",
            valueName: "seen|tried|none"))
    var syscalls: CallList?

    @Flag(name: .short, help: "Pass standard input to the command.")
    var interactive = false

    @Argument(parsing: .captureForPassthrough, help: ArgumentHelp("Command and its arguments.", valueName: "command"))
    var command: [String] = []

    private var arguments: [String] { command.first == "--" ? Array(command.dropFirst()) : command }

    func validate() throws {
        if command.first == "--help" || command.first == "-h" { throw CleanExit.helpRequest(self) }
        if let first = command.first, first.hasPrefix("-"), first != "--" {
            throw ValidationError("Unknown option '\(first)'. A command that begins with - goes behind --.")
        }
        if (input == nil) == arguments.isEmpty { throw ValidationError("Give a command to run, or --input.") }
        if input != nil, image != nil || !env.isEmpty || interactive {
            throw ValidationError("--image, --env and -i are for a command")
        }
        if input == nil, sandbox != nil { throw ValidationError("--sandbox is for --input") }
    }

    func execute() throws {
        var learner = EventLearner()
        let source: String
        var exitCode: Int32 = 0
        if let input {
            try read(input, into: &learner)
            source = input == "-" ? "saved events" : input
        } else {
            exitCode = try watch(&learner)
            source = arguments.map(TerminalText.quoted).joined(separator: " ")
        }
        if learner.lost > 0 {
            Complaint.print("\(learner.lost) events are missing: the policy may permit too little")
        }
        let text = learner.learner.policy(
            named: name, source: source, calls: (syscalls ?? (input == nil ? .seen : .none)).calls,
            time: { String(RFC3339.text($0).prefix(19)) + "Z" })
        do {
            _ = try Policy(yaml: text, file: output ?? "learned.yaml")
        } catch {
            throw Failure("the policy is not valid: \(TerminalText.lines("\(error)"))")
        }
        if let output {
            try TextFile.write(text, to: output)
            Complaint.print(
                "\(TerminalText.neutralised(output)) is written, from \(learner.learner.observations) observations")
        } else {
            try Output.write(text)
        }
        if exitCode != 0 {
            Complaint.print("the command ended with \(exitCode): the policy holds what it did until then")
            throw ExitCode(exitCode)
        }
    }

    // MARK: saved events

    private func read(_ file: String, into learner: inout EventLearner) throws {
        let descriptor = file == "-" ? STDIN_FILENO : open(file, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(file: file, errno: errno) }
        defer { if descriptor != STDIN_FILENO { close(descriptor) } }
        var filter = EventFilter()
        if let sandbox { filter.sandboxes = [sandbox] }
        var bytes: [UInt8] = []
        var number = 0
        func take(_ lines: ArraySlice<UInt8>) throws {
            for line in lines.split(separator: UInt8(ascii: "\n")) {
                number += 1
                do throws(EventParseError) {
                    let event = try Event(json: Array(line))
                    if filter.matches(event) { learner.learn(event) }
                } catch {
                    throw Failure("\(file):\(number): \(TerminalText.neutralised(error.description))")
                }
            }
        }
        while try TextFile.append(to: &bytes, from: descriptor, file) {
            guard let end = bytes.lastIndex(of: UInt8(ascii: "\n")) else {
                guard bytes.count <= TextFile.limit else { throw Failure(file: file, errno: EFBIG) }
                continue
            }
            try take(bytes[...end])
            bytes.removeSubrange(...end)
        }
        try take(bytes[...])
    }

    // MARK: a command

    /// Names are resolved, and every destination is reported: nothing that a program asks for is on this list.
    private static let watching = """
        apiVersion: corral/v1
        name: learning
        mode: audit
        egress: { allow: [{ domain: nothing.invalid, ports: [53] }] }
        trace: { syscalls: first }

        """
    /// After the command's end everything that it did has been told. Seconds that the telling may take.
    private static let patience: UInt32 = 10

    private func watch(_ learner: inout EventLearner) throws -> Int32 {
        let client = try connection.client()
        let signals = try SignalPipe([SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGALRM])
        Glibc.signal(SIGPIPE, SIG_IGN)
        let begun = Self.now
        // The journal does not hold calls. Each is told once for every thread that makes it: few enough to be read afterwards.
        let name = "learn-\(getpid())-\(String(begun & 0xffff_ffff, radix: 36))"
        var filter = EventFilter(sandboxes: [name], types: [.syscall, .sandbox])
        let live = try client.events(matching: filter)
        let sandbox = try client.createSandbox(try request(name))
        // Nobody else knows of it.
        defer { try? client.removeSandbox(sandbox.id, force: true) }
        let exit = try client.attach(
            sandbox.id, claimsStdin: interactive,
            AttachStreams(
                stdin: interactive ? STDIN_FILENO : nil, stdout: output == nil ? STDERR_FILENO : STDOUT_FILENO,
                stderr: STDERR_FILENO,
                signals: signals.reading))
        guard let exit else { throw Failure("the command goes on; nothing is learned") }
        let calls = try client.syscalls(of: sandbox.id)
        // Its last event is told when it goes.
        try client.removeSandbox(sandbox.id, force: true)
        let ended = Self.now
        filter = EventFilter(sandboxes: [sandbox.id])
        let history = try client.events(matching: filter, Client.EventSpan(since: begun - 1_000_000_000, follow: false))
        var last: UInt64 = 0
        while let piece = try history.next() {
            guard case .lines(let lines) = piece else { continue }
            for line in lines.split(separator: UInt8(ascii: "\n")) {
                let event: Event
                do throws(EventParseError) {
                    event = try Event(json: Array(line))
                } catch {
                    throw Failure("an event could not be read: \(TerminalText.neutralised(error.description))")
                }
                learner.learn(event)
                if case .sandbox(.destroyed) = event.body { last = event.seq }
            }
        }
        // Behind the events of its processes, which say what programs they are.
        alarm(Self.patience)
        try learn(from: live, &learner, signals.reading)
        alarm(0)
        let seen = learner.seen[sandbox.id]?.filter { $0 <= last }.count ?? 0
        if last == 0 || UInt64(seen) < last {
            Complaint.print(
                "the audit journal holds \(seen) of \(last == 0 ? "an unknown number of" : "\(last)") events: "
                    + "the policy may permit too little")
        }
        for call in calls.syscalls where call.abi != SyscallABI.ioUring.rawValue {
            learner.learn(
                call: call.name, made: call.calls &- call.refused, refused: call.refused, from: begun, to: ended)
        }
        return exit.code
    }

    /// Until the sandbox goes. Counts say which calls there were; this says who made them.
    private func learn(from pieces: EventPieces, _ learner: inout EventLearner, _ interruption: Int32) throws {
        let records = TraceRecords()
        while let piece = try pieces.next(orReadable: interruption) {
            switch piece {
            case .source(let source): records.learn(source)
            case .records(let bytes): for event in try records.events(bytes) { learner.learn(event) }
            case .lines(let lines):
                if lines.isEmpty { return }
                for line in lines.split(separator: UInt8(ascii: "\n")) {
                    guard let event = try? Event(json: Array(line)) else { continue }
                    if case .lost(let loss) = event.body, loss.place == .reader { continue }
                    learner.learn(event)
                    if case .sandbox(.destroyed) = event.body { return }
                }
            }
        }
    }

    private func request(_ name: String) throws -> CreateSandboxRequest {
        var variables: [String: String] = [:]
        for entry in env {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard !parts[0].isEmpty else { throw ValidationError("--env: expected NAME=VALUE") }
            if let value = parts.count == 2 ? parts[1] : Environment[parts[0]] { variables[parts[0]] = value }
        }
        return CreateSandboxRequest(
            name: name, image: image, policy: PolicySource(file: "learning", yaml: Self.watching), command: arguments,
            env: variables.isEmpty ? nil : variables, stdin: interactive ? true : nil, autoRemove: false)
    }

    /// Nanoseconds since 1970.
    private static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
