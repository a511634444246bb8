internal import CorralEvents
internal import CorralKernel
internal import Glibc

/// What the corral-init of each sandbox says.
extension Engine {
    func listen(to sandbox: LiveSandbox) {
        let id = sandbox.id
        poller.notify([(sandbox.warm.channel.descriptor, .readable)]) { [weak self] in
            guard let self else { return }
            Task { await self.hear(id) }
        }
    }

    func hear(_ id: String) {
        guard let sandbox = live[id] else { return }
        // Descriptors of a message that there is no room for would be lost.
        guard Descriptors.areLeft(4) else {
            Task {
                await pause(milliseconds: 200)
                hear(id)
            }
            return
        }
        do {
            while let message = try sandbox.warm.channel.receive(timeoutMilliseconds: 0) {
                guard handle(message, sandbox) else { return }
            }
            listen(to: sandbox)
        } catch {
            host.report("sandbox \(id): \(error)")
            initIsGone(sandbox)
        }
    }

    /// False when nothing more will come.
    func handle(_ message: InitMessage, _ sandbox: LiveSandbox) -> Bool {
        switch message {
        case .hello:
            break
        case .started(let tag, let pid, let stdin, let stdout, let stderr):
            guard let command = sandbox.commands[tag] else {
                // Of a daemon that did not come to write it down.
                try? sandbox.warm.channel.signal(tag: tag, SIGKILL)
                break
            }
            let pipes = CommandSession.Pipes(
                stdin: stdin, stdout: stdout, stderr: stderr, isTerminal: command.spec.terminal != nil)
            if case .starting = command.state {
                commandStarted(command, pid: pid, pipes, sandbox)
            } else {
                commandRetold(command, pipes, sandbox)
            }
        case .execFailed(let tag, let number, let stage):
            guard let command = sandbox.commands[tag] else { break }
            command.settle(.failure(Self.startFailure(command.spec, errno: number, stage: stage)))
        case .exited(let tag, let status, _, _, _):
            if let command = sandbox.commands[tag] {
                commandEnded(command, sandbox, status: status)
            } else {
                try? sandbox.warm.channel.forget(tag: tag)
            }
        case .closed:
            initIsGone(sandbox)
            return false
        }
        return true
    }

    private func commandStarted(
        _ command: LiveCommand, pid: Int32, _ pipes: CommandSession.Pipes, _ sandbox: LiveSandbox
    ) {
        let startedAt = Clock.realtime()
        command.pid = pid
        if command.isMain {
            sandbox.state = .running(startedAt: startedAt)
            emit(.sandbox(.started(command: command.spec.arguments)), sandbox)
        }
        let result = Result {
            try CommandSession(
                pipes: pipes, poller: poller, log: command.isMain ? OutputLog() : nil, drains: command.spec.detached)
        }
        command.session = try? result.get()
        command.settle(result)
        command.state = .running(startedAt: startedAt)
        crashPoint("command.started")
        remember(sandbox)
    }

    /// A command that an earlier daemon has started: its streams are those it wrote to meanwhile.
    private func commandRetold(_ command: LiveCommand, _ pipes: CommandSession.Pipes, _ sandbox: LiveSandbox) {
        guard command.session == nil else { return }
        do {
            command.session = try CommandSession(
                pipes: pipes, poller: poller, log: command.isMain ? OutputLog() : nil, drains: command.spec.detached)
        } catch {
            host.report("sandbox \(sandbox.id), command \(command.id): its output cannot be read: \(error)")
        }
        if case .exited(_, _, let result) = command.state {
            command.session?.finish(result)
            let (channel, tag) = (sandbox.warm.channel, command.tag)
            command.session?.whenOver { try? channel.forget(tag: tag) }
        }
    }

    /// What corral-init could not do for a command.
    private static func startFailure(_ spec: CommandSpec, errno number: Int32, stage: String) -> EngineError {
        let text = "\(spec.arguments.first ?? ""): \(KernelError.describe(number))"
        switch stage {
        case "execve":
            return EngineError(number == ENOENT ? .commandNotFound : .commandNotExecutable, text)
        case "enter the working directory":
            return EngineError(
                .invalidRequest, "workingDirectory: \(spec.workingDirectory ?? ""): \(KernelError.describe(number))")
        default:
            return EngineError(number == EAGAIN ? .exhausted : .internal, text, detail: ["stage: \(stage)"])
        }
    }

    private func commandEnded(_ command: LiveCommand, _ sandbox: LiveSandbox, status: Int32) {
        // Told again: an earlier daemon had it written down.
        if command.hasEnded { return }
        let signal = status & 0x7f
        var result = CommandResult(
            exitCode: signal == 0 ? status >> 8 & 0xff : 128 + signal, cause: signal == 0 ? .exited : .signalled
        )
        guard command.isMain else { return conclude(command, result, sandbox) }
        if let cause = sandbox.endCause {
            result = CommandResult(exitCode: cause == .timeout ? 124 : 137, cause: cause)
        }
        conclude(sandbox, result)
        // What the command left behind goes with it.
        try? sandbox.killAll()
    }

    func initIsGone(_ sandbox: LiveSandbox) {
        let cause = sandbox.endCause ?? .signalled
        abandonStarts(of: sandbox)
        conclude(sandbox, CommandResult(exitCode: cause == .timeout ? 124 : 137, cause: cause))
    }

    /// Nothing more will be heard of commands that have not started.
    func abandonStarts(of sandbox: LiveSandbox) {
        for command in sandbox.commands.values {
            command.settle(.failure(Self.endedBeforeStart))
        }
    }

    static let endedBeforeStart = EngineError(.conflict, "the sandbox ended before its command started")
}
