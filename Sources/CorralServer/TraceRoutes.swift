internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import CorralPolicy
internal import FoundationEssentials
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import ServiceLifecycle

/// `/v1/sandboxes/{ref}/trace` and `/v1/sandboxes/{ref}/syscalls`.
struct TraceRoutes: Sendable {
    /// Events that the reader of a trace may fall behind; a quarter of them calls.
    static let eventBuffer = 262_144

    /// The same for one that takes calls as records.
    static let recordBuffer = EventRoutes.recordBuffer

    let engine: any SandboxEngine

    /// Query: `syscall`, repeatable, a call, `@` and a group, `all` or `counts`. Ends with the sandbox's command; the last
    /// line holds the counts.
    func trace(_ routed: RoutedRequest) async throws -> Response {
        var words: [String] = []
        for (key, value) in routed.query {
            guard key == "syscall" else {
                throw Failure.invalidRequest("unknown query key \"\(key)\"; expected syscall")
            }
            words.append(value)
        }
        let selection: TraceSelection
        do {
            selection = try TraceSelection(words: words)
        } catch {
            throw Failure.invalidRequest("syscall: \(TerminalText.neutralised(error.description))")
        }
        let asRecords = routed.takesFrames
        let feed = try await engine.trace(
            routed.reference, selection, buffer: asRecords ? Self.recordBuffer : Self.eventBuffer, asRecords: asRecords)
        if asRecords {
            return FrameStream.response(to: routed) { write in
                while let frames = await feed.frames.next() { for frame in frames { try await write(frame) } }
                try await write(EventFrames.frame(.lines, try Self.last(feed)))
            }
        }
        let context = routed.context
        return Response(
            status: .ok, headers: [.contentType: "application/x-ndjson", .cacheControl: "no-store"],
            body: ResponseBody { writer in
                let out = StreamWriter(writer, channel: context.channel)
                let stream = LineStream(
                    write: { try await out.write($0) }, disconnection: { await context.disconnection() },
                    interruption: { try? await gracefulShutdown() })
                let isThere = await stream.run { lines in
                    for await event in feed.events { try await lines.write(ByteBuffer(bytes: event.jsonLine)) }
                    try await lines.write(ByteBuffer(bytes: try Self.last(feed)))
                }
                guard isThere else { throw ClientGone() }
                try await APIResponder.finish(out)
            }
        )
    }

    private static func last(_ feed: TraceFeed) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return Array(try encoder.encode(SyscallCounts(feed.counts()))) + [UInt8(ascii: "\n")]
    }

    func counts(_ routed: RoutedRequest) async throws -> Response {
        guard let uses = try await engine.syscalls(of: routed.reference) else {
            throw Failure(.conflict, "conflict", "the system calls of sandbox \(routed.reference) are not traced")
        }
        return .json(SyscallCounts(uses))
    }
}

extension SyscallCounts {
    init(_ uses: [SyscallUse]) {
        self.init(
            syscalls: uses.map {
                Entry(
                    name: $0.name, abi: $0.abi.rawValue, calls: $0.calls, errors: $0.errors, refused: $0.refused,
                    durationNs: $0.duration)
            })
    }
}
