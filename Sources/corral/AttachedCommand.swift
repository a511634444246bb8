internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import CorralPolicy
internal import Glibc

/// This program's streams, connected to a command's until that has ended or is left.
struct AttachedCommand {
    /// Lines of the summary of refusals.
    private static let mostRefusals = 10

    let client: Client
    var isInteractive: Bool
    var hasTerminal: Bool
    private let signals: SignalPipe

    /// From here on a ^C is the command's, and waits for it if it has not begun.
    init(client: Client, isInteractive: Bool, hasTerminal: Bool) throws {
        self.client = client
        self.isInteractive = isInteractive
        self.hasTerminal = hasTerminal
        signals = try SignalPipe([SIGINT, SIGTERM, SIGQUIT, SIGHUP] + (hasTerminal ? [SIGWINCH] : []))
        signal(SIGPIPE, SIG_IGN)
    }

    /// How it ended; nil when the caller left it.
    func attach(
        to sandbox: String, exec: String? = nil, claimsStdin: Bool? = nil, progress: AttachProgress? = nil
    ) throws -> CommandExit? {
        let isRaw = hasTerminal && isInteractive ? try CallerTerminal.makeRaw() : false
        defer { CallerTerminal.restore() }
        let exit = try client.attach(
            sandbox, exec: exec, claimsStdin: claimsStdin,
            AttachStreams(
                stdin: isInteractive ? STDIN_FILENO : nil, stdout: STDOUT_FILENO, stderr: STDERR_FILENO,
                signals: signals.reading, terminal: isRaw ? STDIN_FILENO : nil
            ),
            progress: progress
        )
        if exit == nil, isRaw { Complaint.print("left running: \(TerminalText.neutralised(sandbox))") }
        return exit
    }

    /// The exit code of a command that could not be started.
    static func failure(_ status: Int, _ body: ErrorBody) -> Failure {
        let code: Int32? =
            switch body.code {
            case "command_not_executable": 126
            case "command_not_found": 127
            default: nil
            }
        var text = ClientError.refused(status: status, body).description
        // A path may be meant for a file of the caller's own.
        if code == 127, body.message.prefix(while: { $0 != ":" }).contains("/") {
            text += "\na sandbox has none of your files: corral cp or a mount brings them in, -i passes a script"
        }
        return Failure(text, code: code)
    }

    static func tell(_ refusals: [RefusalSummary]) {
        guard !refusals.isEmpty else { return }
        let total = refusals.reduce(0) { $0 + $1.count }
        Complaint.print("\(total) \(total == 1 ? "attempt was" : "attempts were") refused")
        for refusal in refusals.prefix(mostRefusals) {
            let times = refusal.count > 1 ? " ×\(refusal.count)" : ""
            let hint = refusal.hint.map { ": \($0)" } ?? ""
            Complaint.print(
                "  " + TerminalText.neutralised("\(refusal.what) \(refusal.reason.rawValue)\(times)\(hint)"))
        }
        if refusals.count > mostRefusals { Complaint.print("  and \(refusals.count - mostRefusals) others") }
    }
}
