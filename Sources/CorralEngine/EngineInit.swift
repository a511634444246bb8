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
        case .started(_, _, let stdin, let stdout, let stderr):
            let startedAt = Clock.realtime()
            sandbox.state = .running(startedAt: startedAt)
            emit(.sandbox(.started(command: sandbox.spec.command.arguments)), sandbox)
            let waiting = sandbox.started
            sandbox.started = nil
            waiting?.resume(
                with: Result {
                    let session = try CommandSession(
                        pipes: CommandSession.Pipes(stdin: stdin, stdout: stdout, stderr: stderr), poller: poller
                    )
                    sandbox.session = session
                    return session
                }
            )
        case .execFailed(_, let number, let stage):
            let program = sandbox.spec.command.arguments.first ?? ""
            let text = "\(program): \(KernelError.describe(number))"
            let kind: EngineError.Kind =
                stage != "execve" ? .internal : number == ENOENT ? .commandNotFound : .commandNotExecutable
            sandbox.started?.resume(
                throwing: EngineError(kind, text, detail: stage == "execve" ? [] : ["stage: \(stage)"]))
            sandbox.started = nil
        case .exited(_, let status, _, _, _):
            commandEnded(sandbox, status: status)
        case .closed:
            initIsGone(sandbox)
            return false
        }
        return true
    }

    func commandEnded(_ sandbox: LiveSandbox, status: Int32) {
        let signal = status & 0x7f
        var result = CommandResult(
            exitCode: signal == 0 ? status >> 8 & 0xff : 128 + signal, cause: signal == 0 ? .exited : .signalled
        )
        if let cause = sandbox.endCause {
            result = CommandResult(exitCode: cause == .timeout ? 124 : 137, cause: cause)
        }
        conclude(sandbox, result)
        // What the command left behind goes with it.
        sandbox.warm.cgroup.killAll()
    }

    func initIsGone(_ sandbox: LiveSandbox) {
        sandbox.started?.resume(throwing: EngineError(.internal, "the sandbox ended before its command started"))
        sandbox.started = nil
        let cause = sandbox.endCause ?? .signalled
        conclude(sandbox, CommandResult(exitCode: cause == .timeout ? 124 : 137, cause: cause))
    }
}
