internal import ArgumentParser
internal import CorralAPI
internal import Glibc

/// What the words of a `run` come to.
struct RunOrder: Equatable {
    var connection = ConnectionChoice()
    var request: CreateSandboxRequest
    var quiet = false
    var timing = false
    var hasTerminal = false

    func carryOut() throws {
        var report = timing ? TimingReport() : nil
        let client = try connection.client()
        if request.detach == true { return try Output.write(try create(client).id + "\n") }
        let attached = try AttachedCommand(
            client: client, isInteractive: request.stdin == true, hasTerminal: hasTerminal)
        report?.end("prepare")
        if timing {
            try client.connect()
            report?.end("connect")
        }
        let sandbox = try create(client)
        if let times = sandbox.timing { report?.started(times) }
        let progress = timing ? AttachProgress() : nil
        let exit: CommandExit?
        do {
            exit = try attached.attach(to: sandbox.id, progress: progress)
        } catch ClientError.outputClosed {
            throw ExitCode(128 + SIGPIPE)
        } catch {
            // Nobody else knows of it. That it may be gone already, with corrald or without, is no further news.
            if request.autoRemove != false { try? client.removeSandbox(sandbox.id, force: true) }
            throw error
        }
        guard let exit else { return }
        if !quiet { AttachedCommand.tell(exit.refusals) }
        if exit.cause == .timeout { Complaint.print("the command was killed: timeout") }
        if let progress {
            report?.ended(progress)
            report?.print()
        }
        throw ExitCode(exit.code)
    }

    private func create(_ client: Client) throws -> (id: String, timing: StartTimes?) {
        do {
            guard timing else { return (try client.createSandboxID(request), nil) }
            let sandbox = try client.createSandbox(request)
            return (sandbox.id, sandbox.timing)
        } catch ClientError.refused(let status, let body) {
            throw AttachedCommand.failure(status, body)
        }
    }
}

/// The plain forms of `run`, read without the parser. That looks at all the options there are through reflection, and takes longer
/// for it than corrald for the start.
extension RunOrder {
    /// Of the words behind `run`. Nil: there is something that only the parser knows, or can say what is wrong with.
    init?(plain words: [String]) {
        var rest = words[...]
        var values: [String: String] = [:]
        var interactive = false
        var quiet = false
        options: while let word = rest.first {
            switch word {
            case "--":
                rest = rest.dropFirst()
                break options
            case "--policy", "--name", "--image":
                guard let value = rest.dropFirst().first, !value.hasPrefix("-"), values[word] == nil else { return nil }
                values[word] = value
                rest = rest.dropFirst(2)
            case "-i", "--interactive":
                interactive = true
                rest = rest.dropFirst()
            case "-q", "--quiet":
                quiet = true
                rest = rest.dropFirst()
            default:
                guard !word.hasPrefix("-") else { return nil }
                break options
            }
        }
        guard !rest.isEmpty else { return nil }
        var policy: PolicySource?
        if let file = values["--policy"] {
            guard let source = try? StartOptions.policySource(file) else { return nil }
            policy = source
        }
        self.init(
            request: CreateSandboxRequest(
                name: values["--name"], image: values["--image"], policy: policy, command: Array(rest),
                stdin: interactive ? true : nil),
            quiet: quiet)
    }
}
