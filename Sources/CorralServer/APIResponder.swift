internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore
internal import ServiceLifecycle

/// Answers every request of the API from one engine.
struct APIResponder: HTTPResponder {
    /// Bytes of a body that creates a sandbox (its policy may hold many ranges), and of any other.
    static let createLimit = 16 << 20
    static let bodyLimit = 64 << 10
    /// Events a reader of `/v1/events` may fall behind.
    static let eventBuffer = 65_536

    let engine: any SandboxEngine
    let version: VersionInfo
    private let routes: RouteTable

    init(engine: any SandboxEngine, version: VersionInfo) {
        self.engine = engine
        self.version = version
        let sandboxes = SandboxRoutes(engine: engine)
        var routes = RouteTable()
        routes.add("/v1/sandboxes", (.get, sandboxes.list), (.post, sandboxes.create))
        routes.add("/v1/sandboxes/{ref}", (.get, sandboxes.inspect), (.delete, sandboxes.remove))
        routes.add("/v1/sandboxes/{ref}/kill", (.post, sandboxes.kill))
        routes.add("/v1/sandboxes/{ref}/policy", (.put, sandboxes.applyPolicy))
        routes.add("/v1/sandboxes/{ref}/attach", (.post, sandboxes.attach))
        let traces = TraceRoutes(engine: engine)
        routes.add("/v1/sandboxes/{ref}/trace", (.get, traces.trace))
        routes.add("/v1/sandboxes/{ref}/syscalls", (.get, traces.counts))
        let enforcements = EnforcementRoutes(engine: engine)
        routes.add("/v1/enforcements", (.get, enforcements.list), (.post, enforcements.enforce))
        routes.add("/v1/enforcements/{ref}", (.delete, enforcements.release))
        routes.add("/v1/events", (.get, { try await Self.events(of: engine, $0) }))
        routes.add("/v1/pool", (.get, { _ in .json(PoolStatus(await engine.pool())) }))
        routes.add(
            "/v1/doctor",
            (.get, { _ in .json(DoctorReport(checks: await engine.doctor().map(DoctorReport.Check.init))) }))
        routes.add("/v1/version", (.get, { _ in .json(version) }))
        routes.add("/healthz", (.get, { _ in .json(["status": "ok"]) }))
        self.routes = routes
    }

    func respond(to request: Request, context: APIContext) async throws -> Response {
        var response: Response
        do {
            let target = try RequestTarget(request.head.path ?? "")
            let (handler, reference) = try routes.handler(for: request, target: target)
            response = try await handler(
                RoutedRequest(request: request, context: context, reference: reference, query: target.query)
            )
        } catch {
            let failure = Failure(error)
            // What fails because the client left in the middle is no failure of ours.
            if failure.status.kind == .serverError, context.channel.isActive {
                context.logger.error(
                    "request failed",
                    metadata: ["request": "\(request.method) \(request.uri.path)", "error": "\(failure.body.message)"]
                )
            }
            response = failure.response
            if failure.status == .contentTooLarge { response.headers[.connection] = "close" }
        }
        if request.method == .head { response.body = ResponseBody() }
        return response
    }

    private static func events(of engine: any SandboxEngine, _ routed: RoutedRequest) async throws -> Response {
        let filter = try EventFilter(query: routed.query)
        let events = await engine.events(matching: filter, buffer: eventBuffer)
        let context = routed.context
        return Response(
            status: .ok, headers: [.contentType: "application/x-ndjson", .cacheControl: "no-store"],
            body: ResponseBody { writer in
                let out = StreamWriter(writer, channel: context.channel)
                let stream = EventStream(
                    events: events, write: { try await out.write($0) },
                    disconnection: { await context.disconnection() }, interruption: { try? await gracefulShutdown() }
                )
                guard await stream.run() else { throw ClientGone() }
                try await finish(out)
            }
        )
    }

    /// Ends a response once the client has taken what came before; a server that stops waits one second for that.
    static func finish(_ writer: StreamWriter) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { try await writer.finish() }
            group.addTask {
                try await gracefulShutdown()
                try await Task.sleep(for: .seconds(1))
                throw ClientGone()
            }
            defer { group.cancelAll() }
            try await group.next()
        }
    }
}

/// Thrown into the HTTP layer to close a connection whose response can not be finished.
struct ClientGone: Error {}
