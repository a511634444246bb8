internal import CorralEngine
internal import CorralEvents
internal import Hummingbird
internal import NIOCore
internal import ServiceLifecycle

/// What `GET /v1/events` was asked for.
struct EventQuery: Sendable, Equatable {
    var filter = EventFilter()
    /// Nil: events from now on alone.
    var history: HistoryRequest?
    /// Go on with events as they happen.
    var follow = true

    /// Throws `Failure` and `EventFilterError`.
    init(_ query: [(String, String)]) throws {
        var since: Int64?
        var last: Int?
        for (key, value) in query {
            switch key {
            case "since":
                guard let time = RFC3339.nanoseconds(value) else {
                    throw Failure.invalidRequest("since: expected RFC 3339 in UTC, such as 2026-11-24T05:12:01Z")
                }
                since = min(since ?? time, time)
            case "last":
                guard value.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(value),
                    number <= HistoryRequest.mostEvents
                else {
                    throw Failure.invalidRequest("last: expected a number of 0 to \(HistoryRequest.mostEvents)")
                }
                last = max(last ?? 0, number)
            case "follow":
                guard value == "true" || value == "false" else {
                    throw Failure.invalidRequest("follow: expected true or false")
                }
                follow = value == "true"
            default:
                guard let key = EventFilter.Key(rawValue: key) else {
                    let known = EventFilter.Key.allCases.map(\.rawValue) + ["since", "last", "follow"]
                    throw Failure.invalidRequest(
                        "query: \"\(TerminalText.neutralised(key))\" is not one of \(known.joined(separator: ", "))")
                }
                try filter.add(key, value)
            }
        }
        if since != nil || last != nil || !follow { history = HistoryRequest(since: since, last: last) }
    }
}

/// `/v1/events`.
struct EventRoutes: Sendable {
    /// Events a reader may fall behind.
    static let buffer = 65_536
    /// The same for a reader that takes calls as records: 128 MiB of them at most, of which one sandbox gets a quarter.
    static let recordBuffer = 524_288

    let engine: any SandboxEngine

    func events(_ routed: RoutedRequest) async throws -> Response {
        let query = try EventQuery(routed.query)
        if routed.takesFrames { return try await frames(query, routed) }
        let feed: EventFeed
        if let history = query.history {
            feed = try await engine.events(matching: query.filter, from: history, buffer: Self.buffer)
        } else {
            feed = EventFeed(live: await engine.events(matching: query.filter, buffer: Self.buffer))
        }
        let context = routed.context
        return Response(
            status: .ok, headers: [.contentType: "application/x-ndjson", .cacheControl: "no-store"],
            body: ResponseBody { writer in
                let out = StreamWriter(writer, channel: context.channel)
                let stream = EventStream(
                    feed: feed, follows: query.follow, write: { try await out.write($0) },
                    disconnection: { await context.disconnection() }, interruption: { try? await gracefulShutdown() }
                )
                guard await stream.run() else { throw ClientGone() }
                try await APIResponder.finish(out)
            }
        )
    }

    private func frames(_ query: EventQuery, _ routed: RoutedRequest) async throws -> Response {
        let feed = try await engine.frames(matching: query.filter, from: query.history, buffer: Self.recordBuffer)
        return FrameStream.response(to: routed) { write in
            if let past = feed.past {
                while let lines = await past() { try await write(EventFrames.frame(.lines, lines)) }
            }
            guard query.follow else { return }
            while let frames = await feed.live.next() { for frame in frames { try await write(frame) } }
        }
    }
}

extension RoutedRequest {
    /// The client renders calls itself.
    var takesFrames: Bool { request.headers[.accept] == EventFrame.contentType }
}
