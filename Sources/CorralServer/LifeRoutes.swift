internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird
internal import NIOCore
internal import ServiceLifecycle

/// What happens to a sandbox between its start and its end: further commands, its output, pauses.
struct LifeRoutes: Sendable {
    static let mostLines = 1_000_000

    let engine: any SandboxEngine

    func commands(_ routed: RoutedRequest) async throws -> Response {
        .json(try await engine.commands(of: routed.reference).map(SandboxCommand.init))
    }

    func exec(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.exec, by: engine) { entry in
            if let info = try? await engine.sandbox(routed.reference) { entry.found(info) }
            let body = try await routed.request.body.collect(upTo: APIResponder.createLimit)
            let request = try ExecRequest(json: body)
            entry.record.command = request.command
            let command = SandboxCommand(try await engine.exec(routed.reference, try CommandSpec(request)))
            return .json(command, status: .created)
        }
    }

    func pause(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.pause, by: engine) { entry in
            let info = try await engine.pause(routed.reference)
            entry.found(info)
            return .json(Sandbox(info))
        }
    }

    func resume(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.resume, by: engine) { entry in
            let info = try await engine.resume(routed.reference)
            entry.found(info)
            return .json(Sandbox(info))
        }
    }

    /// Query: `exec`. Answers when the command has ended.
    func wait(_ routed: RoutedRequest) async throws -> Response {
        var command: String?
        for (key, value) in routed.query {
            guard key == "exec" else { throw Failure.invalidRequest("unknown query key \"\(key)\"; expected exec") }
            command = value
        }
        let result = try await withThrowingTaskGroup(of: CommandResult?.self) { [command] group in
            group.addTask { try await engine.wait(routed.reference, command: command) }
            group.addTask {
                await routed.context.disconnection()
                return nil
            }
            group.addTask {
                try? await gracefulShutdown()
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
        guard let result else { throw Failure(.serviceUnavailable, "exhausted", "corrald is stopping") }
        return .json(WaitResult(exitCode: result.exitCode, cause: result.cause.rawValue))
    }

    /// Query: `follow`, `tail`, `since`. Frames, until the end of what is held or, with `follow`, of the command.
    func logs(_ routed: RoutedRequest) async throws -> Response {
        var request = LogRequest()
        for (key, value) in routed.query {
            switch key {
            case "follow": request.follows = try Failure.boolean(key, value)
            case "tail":
                guard value.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let lines = Int(value),
                    lines <= Self.mostLines
                else { throw Failure.invalidRequest("tail: expected a number of 0 to \(Self.mostLines)") }
                request.lines = lines
            case "since":
                guard let time = RFC3339.nanoseconds(value) else {
                    throw Failure.invalidRequest("since: expected RFC 3339 in UTC, such as 2026-11-24T05:12:01Z")
                }
                request.since = time
            default: throw Failure.invalidRequest("unknown query key \"\(key)\"; expected follow, tail or since")
            }
        }
        let chunks = try await engine.logs(of: routed.reference, request)
        let context = routed.context
        return Response(
            status: .ok, headers: [.contentType: "application/vnd.corral.stream", .cacheControl: "no-store"],
            body: ResponseBody { writer in
                let out = StreamWriter(writer, channel: context.channel)
                let stream = LineStream(
                    write: { try await out.write($0) }, disconnection: { await context.disconnection() },
                    interruption: { try? await gracefulShutdown() }
                )
                let isThere = await stream.run { frames in
                    for try await chunk in chunks { try await frames.write(StreamFrames.encode(chunk)) }
                }
                guard isThere else { throw ClientGone() }
                try await APIResponder.finish(out)
            }
        )
    }
}
