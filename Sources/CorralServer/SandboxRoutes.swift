internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import CorralPolicy
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import ServiceLifecycle
internal import Synchronization

/// `/v1/sandboxes` and all below it.
struct SandboxRoutes: Sendable {
    let engine: any SandboxEngine

    func list(_ routed: RoutedRequest) async throws -> Response {
        .json(await engine.sandboxes().map(Sandbox.init))
    }

    func create(_ routed: RoutedRequest) async throws -> Response {
        let receivedAt = StartTiming.now()
        return try await routed.audited(.create, by: engine) { entry in
            let body = try await routed.request.body.collect(upTo: APIResponder.createLimit)
            let request = try CreateSandboxRequest(json: body)
            entry.record.target = request.name
            entry.record.command = request.command
            entry.record.secrets = request.secrets?.keys.sorted()
            entry.record.policyHash = request.policy.map { SHA256(of: $0.yaml.utf8) }
            let spec = try SandboxSpec(request)
            let askedAt = StartTiming.now()
            let info = try await engine.create(spec)
            entry.apply(info)
            var sandbox = Sandbox(info)
            sandbox.timing = info.timing.map { CorralAPI.StartTimes($0, receivedAt: receivedAt, askedAt: askedAt) }
            var response = Response.json(sandbox, status: .created)
            response.headers[.location] = "/v1/sandboxes/\(sandbox.id)"
            return response
        }
    }

    func inspect(_ routed: RoutedRequest) async throws -> Response {
        .json(Sandbox(try await engine.sandbox(routed.reference)))
    }

    /// Query: `force=true` removes it with its command running.
    func remove(_ routed: RoutedRequest) async throws -> Response {
        var force = false
        for (key, value) in routed.query {
            guard key == "force" else { throw Failure.invalidRequest("unknown query key \"\(key)\"; expected force") }
            force = try Failure.boolean(key, value)
        }
        return try await routed.audited(.remove, by: engine) { [force] entry in
            if let info = try? await engine.sandbox(routed.reference) { entry.found(info) }
            try await engine.remove(routed.reference, force: force)
            return Response(status: .noContent)
        }
    }

    func kill(_ routed: RoutedRequest) async throws -> Response {
        let body = try await routed.request.body.collect(upTo: APIResponder.bodyLimit)
        let request = body.readableBytes == 0 ? KillRequest() : try KillRequest(json: body)
        let name = request.signal ?? "KILL"
        guard let signal = SignalName.number(name) else {
            throw Failure.invalidRequest("signal: no such signal; expected a name such as TERM, or 1 to 64")
        }
        return try await routed.audited(.kill, by: engine) { entry in
            entry.record.signal = signal
            if let info = try? await engine.sandbox(routed.reference) { entry.found(info) }
            try await engine.kill(routed.reference, command: request.exec, signal: signal)
            return Response(status: .noContent)
        }
    }

    /// Body: a policy. Answers once it is in force.
    func applyPolicy(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.applyPolicy, by: engine) { entry in
            let body = try await routed.request.body.collect(upTo: APIResponder.createLimit)
            let source = try PolicySource(json: body)
            entry.record.policyHash = SHA256(of: source.yaml.utf8)
            do {
                let policy = try Policy(yaml: source.yaml, file: source.file)
                let info = try await engine.apply(
                    policy, from: PolicyText(file: source.file, yaml: source.yaml), to: routed.reference)
                entry.apply(info)
                return .json(Sandbox(info))
            } catch {
                await engine.refused(policy: Failure(error).body.message, of: routed.reference)
                throw error
            }
        }
    }

    /// Query: `exec` names another command than the main one; `stdin=true` insists on writing its stdin, `stdin=false` leaves
    /// it to others.
    func attach(_ routed: RoutedRequest) async throws -> Response {
        var command: String?
        var input = CommandStreams.Input.ifFree
        for (key, value) in routed.query {
            switch key {
            case "exec": command = value
            case "stdin": input = try Failure.boolean(key, value) ? .claimed : .none
            default: throw Failure.invalidRequest("unknown query key \"\(key)\"; expected exec or stdin")
            }
        }
        let sandbox = try await engine.sandbox(routed.reference)
        let lease = AttachLease(
            engine: engine, sandbox: sandbox,
            streams: try await engine.attach(sandbox.id, command: command, input: input), logger: routed.context.logger
        )
        // The body below never runs when the client is gone before the head is written.
        routed.context.channel.closeFuture.whenComplete { _ in lease.abandonUnlessTaken() }
        return Response(
            status: .ok, headers: [.contentType: "application/vnd.corral.stream", .connection: "close"],
            body: ResponseBody { writer in
                try await lease.serve(routed, StreamWriter(writer, channel: routed.context.channel))
            }
        )
    }
}

/// The streams of one attached client: let go exactly once, whatever becomes of the client.
private final class AttachLease: Sendable {
    /// How long a client gets to take what is left when the server stops.
    private static let shutdownGrace = Duration.seconds(2)

    private let engine: any SandboxEngine
    private let sandbox: SandboxInfo
    private let streams: CommandStreams
    private let logger: Logger
    private let isTaken = Mutex(false)

    init(engine: any SandboxEngine, sandbox: SandboxInfo, streams: CommandStreams, logger: Logger) {
        self.engine = engine
        self.sandbox = sandbox
        self.streams = streams
        self.logger = logger
    }

    private func take() -> Bool {
        isTaken.withLock { taken in
            defer { taken = true }
            return !taken
        }
    }

    func abandonUnlessTaken() {
        guard take() else { return }
        Task {
            await streams.detach()
            await removeIfUnwanted()
        }
    }

    func serve(_ routed: RoutedRequest, _ writer: StreamWriter) async throws {
        guard take() else { throw ClientGone() }
        let pump = AttachPump(
            streams: streams, write: { try await writer.write($0) },
            disconnection: { await routed.context.disconnection() },
            interruption: { await self.shutdown() },
            signalled: { [engine, sandbox] number in
                engine.record(
                    AuditRecord(.kill, by: routed.context.caller.requester, signal: number),
                    sandbox: SandboxReference(id: sandbox.id, name: sandbox.name))
            }
        )
        switch await pump.run(input: routed.request.body) {
        case .exited:
            try await APIResponder.finish(writer)
        case .disconnected:
            await removeIfUnwanted()
            throw ClientGone()
        case .malformedInput(let error):
            logger.notice(
                "attached client sent no frames", metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
            await removeIfUnwanted()
            throw ClientGone()
        case .outputFailed(let error):
            logger.error("streams failed", metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
            throw ClientGone()
        case .detached, .interrupted:
            throw ClientGone()
        }
    }

    /// The engine destroys every sandbox when the daemon stops; one with a client a little earlier, so that the client
    /// still gets its exit frame.
    private func shutdown() async {
        guard (try? await gracefulShutdown()) != nil else { return }
        try? await engine.remove(sandbox.id, force: true)
        try? await Task.sleep(for: Self.shutdownGrace)
    }

    /// Nobody is left to see the end of a command that was to leave nothing behind.
    private func removeIfUnwanted() async {
        guard sandbox.autoRemove, streams.ownsSandbox else { return }
        do {
            try await engine.remove(sandbox.id, force: true)
        } catch let error as EngineError where error.kind == .notFound {
            // It has ended meanwhile.
        } catch {
            logger.error("not removed", metadata: ["sandbox": "\(sandbox.id)", "error": "\(error)"])
        }
    }
}
