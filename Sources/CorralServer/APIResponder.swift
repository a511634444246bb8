internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import Metrics
internal import NIOCore
internal import ServiceLifecycle

/// Answers every request of the API from one engine.
struct APIResponder: HTTPResponder {
    /// Bytes of a body that creates a sandbox (its policy may hold many ranges), and of any other.
    static let createLimit = 16 << 20
    static let bodyLimit = 64 << 10
    let engine: any SandboxEngine
    let version: VersionInfo
    let metrics: MetricsRegistry
    let access: AccessControl
    let routes: RouteTable

    init(
        engine: any SandboxEngine, version: VersionInfo, metrics: MetricsRegistry, keys: ApiKeys,
        connections: Connections
    ) {
        self.engine = engine
        self.version = version
        self.metrics = metrics
        access = AccessControl(keys: keys, connections: connections, attempts: FailedAttempts(), engine: engine)
        let sandboxes = SandboxRoutes(engine: engine)
        var routes = RouteTable()
        routes.add("/v1/sandboxes", (.get, sandboxes.list), (.post, sandboxes.create))
        // Before the sandboxes: one that has this name is reached by its id.
        routes.add("/v1/sandboxes/stats", (.get, StatsRoutes(engine: engine).stats))
        routes.add("/v1/sandboxes/{ref}", (.get, sandboxes.inspect), (.delete, sandboxes.remove))
        routes.add("/v1/sandboxes/{ref}/kill", (.post, sandboxes.kill))
        routes.add("/v1/sandboxes/{ref}/policy", (.put, sandboxes.applyPolicy))
        routes.add("/v1/sandboxes/{ref}/attach", (.post, sandboxes.attach))
        let life = LifeRoutes(engine: engine)
        routes.add("/v1/sandboxes/{ref}/exec", (.get, life.commands), (.post, life.exec))
        routes.add("/v1/sandboxes/{ref}/logs", (.get, life.logs))
        routes.add("/v1/sandboxes/{ref}/wait", (.get, life.wait))
        routes.add("/v1/sandboxes/{ref}/pause", (.post, life.pause))
        routes.add("/v1/sandboxes/{ref}/resume", (.post, life.resume))
        let traces = TraceRoutes(engine: engine)
        routes.add("/v1/sandboxes/{ref}/trace", (.get, traces.trace))
        routes.add("/v1/sandboxes/{ref}/syscalls", (.get, traces.counts))
        let files = FileRoutes(engine: engine)
        routes.add("/v1/sandboxes/{ref}/files", (.get, files.read), (.put, files.write))
        let images = ImageRoutes(engine: engine)
        routes.add("/v1/images", (.get, images.list), (.post, images.take))
        routes.add("/v1/images/{ref}", (.get, images.inspect), (.delete, images.remove))
        let snapshots = SnapshotRoutes(engine: engine)
        routes.add("/v1/sandboxes/{ref}/snapshot", (.post, snapshots.make))
        routes.add("/v1/snapshots", (.get, snapshots.list), (.post, snapshots.take))
        routes.add("/v1/snapshots/{ref}", (.get, snapshots.inspect), (.delete, snapshots.remove))
        routes.add("/v1/snapshots/{ref}/export", (.get, snapshots.export))
        let enforcements = EnforcementRoutes(engine: engine)
        routes.add("/v1/enforcements", (.get, enforcements.list), (.post, enforcements.enforce))
        routes.add("/v1/enforcements/{ref}", (.delete, enforcements.release))
        let apiKeys = ApiKeyRoutes(engine: engine, keys: keys, connections: connections)
        routes.add("/v1/apikeys", (.get, apiKeys.list), (.post, apiKeys.create))
        routes.add("/v1/apikeys/{ref}", (.delete, apiKeys.revoke))
        routes.add("/v1/events", (.get, EventRoutes(engine: engine).events))
        routes.add("/v1/audit", (.get, { _ in .json(JournalStatus(await engine.statistics().journal, engine)) }))
        routes.add("/v1/pool", (.get, { _ in .json(PoolStatus(await engine.pool())) }))
        routes.add(
            "/v1/doctor",
            (.get, { _ in .json(DoctorReport(checks: await engine.doctor().map(DoctorReport.Check.init))) }))
        routes.add("/v1/version", (.get, { _ in .json(version) }))
        let health = HealthRoute(engine: engine)
        routes.add("/healthz", (.get, health.health))
        let page = MetricsPage(registry: metrics, engine: engine, version: version)
        routes.add("/metrics", (.get, { _ in await page.response() }))
        self.routes = routes
    }

    func respond(to request: Request, context: APIContext) async throws -> Response {
        var response: Response
        var route = "other"
        let begun = ContinuousClock.now
        do {
            let target = try RequestTarget(request.head.path ?? "")
            route = routes.name(of: target) ?? route
            response = try await answer(request, context, target, route)
        } catch {
            let failure = Failure(error)
            // What fails because the client left in the middle is no failure of ours.
            if failure.status.kind == .serverError, context.channel.isActive {
                context.logger.error(
                    "request failed",
                    metadata: [
                        "request": "\(request.method) \(request.uri.path)",
                        "error": "\(([failure.body.message] + (failure.body.detail ?? [])).joined(separator: ": "))",
                    ]
                )
            }
            response = failure.response
            // What it was sending meanwhile may be long; nobody reads it.
            let size = request.headers[.contentLength].map { Int($0) ?? .max } ?? 0
            let isLong = request.headers[.transferEncoding] != nil || size > Self.bodyLimit
            let isRead = AccessPolicy.rule(request.method, route).body == .document
            if failure.status == .contentTooLarge
                || isLong
                    && (!isRead || [.unauthorized, .forbidden].contains(failure.status))
            {
                response.headers[.connection] = "close"
            }
        }
        if request.method == .head { response.body = ResponseBody() }
        count(request, route, response, ContinuousClock.now - begun)
        return response
    }

    private func answer(
        _ request: Request, _ context: APIContext, _ target: RequestTarget, _ route: String
    ) async throws -> Response {
        let (rule, connections) = (AccessPolicy.rule(request.method, route), access.connections)
        var (request, context) = (request, context)
        context.caller = try access.identify(request, context, rule)
        // Those who are let in hear of paths and methods that do not exist.
        let (handler, reference) = try routes.handler(for: request, target: target)
        try access.permit(context.caller, rule, target: reference)
        if rule.body == .document { request.body = try LimitedBody.limit(request, to: connections.limits.bodySize) }
        let routed = RoutedRequest(request: request, context: context, reference: reference, query: target.query)
        guard rule.isStream else { return try await handler(routed) }
        guard connections.openStream(on: context.channel) else {
            throw Failure(
                .tooManyRequests, "too_many_requests",
                "this client reads \(connections.limits.streamsPerClient) streams, which is the most")
        }
        do {
            var response = try await handler(routed)
            let body = response.body
            response.body = ResponseBody(contentLength: body.contentLength) { [channel = context.channel] writer in
                defer { connections.closeStream(on: channel) }
                try await body.write(writer)
            }
            return response
        } catch {
            connections.closeStream(on: context.channel)
            throw error
        }
    }

    private func count(_ request: Request, _ route: String, _ response: Response, _ duration: Duration) {
        // Methods are the client's to name.
        let method = Self.methods.contains(request.method) ? request.method.rawValue : "other"
        Counter(
            label: "corral_api_requests_total",
            dimensions: [("method", method), ("route", route), ("status", "\(response.status.code)")], factory: metrics
        ).increment()
        Timer(
            label: "corral_api_request_duration_seconds", dimensions: [("route", route)], factory: metrics
        ).record(duration: duration)
    }

    private static let methods: Set<HTTPRequest.Method> = [.get, .head, .post, .put, .patch, .delete, .options]

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
