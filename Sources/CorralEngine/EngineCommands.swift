internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// The commands of a sandbox, and who reads them.
extension Engine {
    /// As many as one corral-init holds at once.
    static let mostCommands = 64
    /// Ended ones that are remembered, beside the main one.
    static let mostEnded = 32

    /// Starts a further command in a running sandbox. Returns when its first instruction is about to run. It ends with the
    /// sandbox at the latest.
    public func exec(_ reference: String, _ spec: CommandSpec) async throws -> CommandInfo {
        try spec.validate(under: configuration)
        let sandbox = try find(reference)
        try demandRunning(sandbox)
        guard sandbox.commands.values.count(where: { !$0.hasEnded }) < Self.mostCommands else {
            throw EngineError(
                .exhausted, "sandbox \(sandbox.name) runs \(Self.mostCommands) commands, as many as one holds at once")
        }
        let command = LiveCommand(tag: sandbox.nextTag, id: "ex-" + Self.randomText(6), spec: spec)
        sandbox.nextTag += 1
        sandbox.commands[command.tag] = command
        do {
            // Before it can run, so that no daemon comes upon a command that it knows nothing of.
            try rememberNow(sandbox)
            crashPoint("exec.written")
            try await launch(command, in: sandbox)
            crashPoint("exec.started")
        } catch {
            sandbox.commands[command.tag] = nil
            throw error
        }
        return command.info(in: sandbox.id)
    }

    func demandRunning(_ sandbox: LiveSandbox) throws {
        switch sandbox.state {
        case .running: return
        case .paused: throw EngineError(.conflict, "sandbox \(sandbox.name) is paused")
        case .claimed, .exited: throw EngineError(.conflict, "sandbox \(sandbox.name) is not running")
        }
    }

    /// All but the oldest that have ended, in the order in which they began.
    public func commands(of reference: String) async throws -> [CommandInfo] {
        let sandbox = try find(reference)
        return sandbox.commands.values.sorted { $0.tag < $1.tag }.map { $0.info(in: sandbox.id) }
    }

    /// By id or a unique beginning of it.
    func find(command reference: String, in sandbox: LiveSandbox) throws -> LiveCommand {
        let all = sandbox.commands.values
        if let exact = all.first(where: { $0.id == reference }) { return exact }
        let matches = all.filter { !reference.isEmpty && $0.id.hasPrefix(reference) }
        guard matches.count < 2 else { throw EngineError(.conflict, "\(reference) fits more than one command") }
        guard let match = matches.first else {
            throw EngineError(.notFound, "no command \(reference) in sandbox \(sandbox.name)")
        }
        return match
    }

    /// Has corral-init execute it. Throws `commandNotFound`, `commandNotExecutable` and `invalidRequest`.
    func launch(_ command: LiveCommand, in sandbox: LiveSandbox) async throws {
        // Its pipes, and what answering takes.
        guard Descriptors.areLeft(8) else {
            throw EngineError(.exhausted, "no descriptor is left for another command", detail: [Self.descriptorHint])
        }
        let (spec, main) = (command.spec, sandbox.spec.command)
        var environment = [
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/home/user",
            "LANG": "C.UTF-8", "HOSTNAME": sandbox.id,
        ]
        if spec.terminal != nil { environment["TERM"] = "xterm" }
        if let base = sandbox.base { environment.merge(base.environment) { $1 } }
        environment.merge(sandbox.spec.policy?.env ?? [:]) { $1 }
        environment.merge(main.environment) { $1 }
        environment.merge(spec.environment) { $1 }
        let settled = environment
        let user = spec.user ?? main.user ?? .root
        let diskBytes = sandbox.isDiskLimited ? 0 : sandbox.spec.limits.diskBytes ?? 0
        sandbox.isDiskLimited = true
        _ = try await withCheckedThrowingContinuation { continuation in
            command.state = .starting(continuation)
            do throws(KernelError) {
                try sandbox.warm.channel.exec(
                    tag: command.tag, arguments: spec.arguments, environment: settled,
                    workingDirectory: spec.workingDirectory ?? main.workingDirectory
                        ?? sandbox.base?.workingDirectory ?? "/home/user",
                    stdin: spec.stdin, keepCapabilities: spec.keepCapabilities,
                    seccomp: spec.noSeccomp ? [] : sandbox.syscallFilter, upperBytes: diskBytes,
                    openFiles: sandbox.spec.limits.openFiles ?? 0,
                    user: (user.uid, user.gid), terminal: spec.terminal.map { ($0.rows, $0.columns) },
                    processes: sandbox.spec.limits.processes
                )
            } catch {
                // A corral-init that has gone, which is about to be heard.
                let isGone = error.errno == EPIPE || error.errno == ECONNRESET
                command.settle(
                    .failure(
                        isGone
                            ? Self.endedBeforeStart
                            : EngineError(.invalidRequest, "the command could not be sent", detail: ["\(error)"])))
            }
        }
    }

    /// An executed command has ended, and what it wrote until then counts.
    func conclude(_ command: LiveCommand, _ result: CommandResult, _ sandbox: LiveSandbox) {
        guard case .running(let startedAt) = command.state else { return }
        command.state = .exited(startedAt: startedAt, exitedAt: Clock.realtime(), result: result)
        crashPoint("exec.exited")
        command.session?.finish(result)
        let ended = sandbox.commands.values.filter { $0.hasEnded && !$0.isMain }.sorted { $0.tag < $1.tag }
        for old in ended.dropLast(Self.mostEnded) {
            sandbox.commands[old.tag] = nil
            try? sandbox.warm.channel.forget(tag: old.tag)
        }
        guard sandbox.aliveSince != nil else { return }
        let (session, channel, tag) = (command.session, sandbox.warm.channel, command.tag)
        // Once its output has been taken too, corral-init need not keep it any more.
        remember(sandbox) { session?.whenOver { try? channel.forget(tag: tag) } }
    }

    /// The streams of the main command, or of `command`, from now on; of one that nobody has read yet, all of them.
    public func attach(
        _ reference: String, command: String?, input: CommandStreams.Input
    ) async throws -> CommandStreams {
        let sandbox = try find(reference)
        let target = try command.map { try find(command: $0, in: sandbox) } ?? sandbox.main
        guard let target, let session = target.session else {
            throw EngineError(.conflict, "sandbox \(sandbox.name) has no running command")
        }
        let claim: CommandSession.Claim =
            switch input {
            case .claimed: .stdin
            case .ifFree: .stdinIfFree
            case .none: .nothing
            }
        guard let reader = session.attach(claim) else {
            throw EngineError(.conflict, "another client writes the stdin of this command in sandbox \(sandbox.name)")
        }
        let owns = target.isMain && !target.spec.detached && !target.wasAttached
        target.wasAttached = true
        target.readers += 1
        let (id, commandID) = (sandbox.id, target.id)
        return CommandStreams(
            output: CommandOutput(session: session, reader: reader),
            writeStdin: { try await session.write($0, reader: reader) },
            closeStdin: { session.closeStdin(reader: reader) },
            resize: { try? session.resize($0) },
            signal: { [weak self] in try await self?.kill(id, command: commandID, signal: $0) },
            detach: { [weak self] in
                if session.detach(reader) { await self?.detached(from: commandID, of: id) }
            },
            ownsSandbox: owns
        )
    }

    private func detached(from command: String, of id: String) {
        guard let sandbox = live[id], let command = try? find(command: command, in: sandbox) else { return }
        command.readers -= 1
        guard command.isMain, command.readers == 0, sandbox.spec.autoRemove, case .exited = sandbox.state else {
            return
        }
        destroy(sandbox, cause: .removed)
    }

    /// What the main command has written, as far as it is held, and what it writes.
    public func logs(
        of reference: String, _ request: LogRequest
    ) async throws -> any AsyncSequence<LogChunk, any Error> & Sendable {
        let sandbox = try find(reference)
        guard let log = sandbox.main?.session?.log else {
            return LogReader(log: nil, position: 0, follows: false)
        }
        let position = log.start(since: request.since, lines: request.lines)
        return LogReader(log: log, position: position, follows: request.follows)
    }

    /// Returns when the main command, or `command`, has ended; a sandbox without one, when that has.
    public func wait(_ reference: String, command: String?) async throws -> CommandResult {
        let sandbox = try find(reference)
        guard let command else { return try await sandbox.ending.wait() }
        guard let session = try find(command: command, in: sandbox).session else {
            throw EngineError(.conflict, "command \(command) has not started")
        }
        return try await session.ending.wait()
    }

    /// Stops everything in it. Connections stay; their peers see silence. Its timeout goes on.
    public func pause(_ reference: String) async throws -> SandboxInfo {
        let sandbox = try find(reference)
        try demandRunning(sandbox)
        guard let startedAt = sandbox.aliveSince else { return info(sandbox) }
        sandbox.state = .paused(startedAt: startedAt)
        let cgroup = sandbox.warm.cgroup
        do {
            try await freezing.run { try cgroup.freeze() }
        } catch {
            if case .paused = sandbox.state { sandbox.state = .running(startedAt: startedAt) }
            throw EngineError(.internal, "sandbox \(sandbox.name) could not be paused", detail: ["\(error)"])
        }
        crashPoint("pause.frozen")
        guard case .paused = sandbox.state else {
            throw EngineError(.conflict, "sandbox \(sandbox.name) has ended meanwhile")
        }
        await rememberBeforeAnswer(sandbox)
        crashPoint("pause.written")
        emit(.sandbox(.paused), sandbox)
        return info(sandbox)
    }

    public func resume(_ reference: String) async throws -> SandboxInfo {
        let sandbox = try find(reference)
        guard case .paused(let startedAt) = sandbox.state else {
            throw EngineError(.conflict, "sandbox \(sandbox.name) is not paused")
        }
        guard sandbox.copies == 0 else {
            throw EngineError(.conflict, "a snapshot of sandbox \(sandbox.name) is being taken")
        }
        let cgroup = sandbox.warm.cgroup
        do {
            // Behind a pause that is still at work.
            try await freezing.run { try cgroup.thaw() }
        } catch {
            throw EngineError(.internal, "sandbox \(sandbox.name) could not be resumed", detail: ["\(error)"])
        }
        crashPoint("resume.thawed")
        guard case .paused = sandbox.state else { return info(sandbox) }
        sandbox.state = .running(startedAt: startedAt)
        await rememberBeforeAnswer(sandbox)
        crashPoint("resume.written")
        emit(.sandbox(.resumed), sandbox)
        return info(sandbox)
    }
}

/// The held output of a command from one place on.
struct LogReader: AsyncSequence, Sendable {
    typealias Element = LogChunk
    typealias Failure = any Error

    let log: OutputLog?
    let position: UInt64
    let follows: Bool

    struct Iterator: AsyncIteratorProtocol {
        let log: OutputLog?
        var position: UInt64
        let follows: Bool
        var waiting: [LogChunk] = []

        mutating func next() async throws -> LogChunk? {
            guard let log else { return nil }
            while waiting.isEmpty {
                try Task.checkCancellation()
                let (pieces, end, skipped, isFinished) = log.read(from: position)
                position = end
                if skipped > 0 { waiting.append(.skipped(skipped)) }
                waiting += pieces.map { $0.isError ? .stderr($0.bytes) : .stdout($0.bytes) }
                guard waiting.isEmpty else { break }
                if isFinished || !follows { return nil }
                await log.wait(beyond: position)
            }
            return waiting.removeFirst()
        }
    }

    func makeAsyncIterator() -> Iterator { Iterator(log: log, position: position, follows: follows) }
}
