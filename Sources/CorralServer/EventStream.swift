internal import CorralEngine
internal import CorralEvents
internal import NIOCore

/// Events to one reader as JSON lines: each at once, those already waiting in one piece.
struct EventStream: Sendable {
    let feed: EventFeed
    /// Go on behind the past.
    let follows: Bool
    let write: @Sendable (ByteBuffer) async throws -> Void
    /// Returns once the reader is gone.
    let disconnection: @Sendable () async -> Void
    /// Returns once the server must let go.
    let interruption: @Sendable () async -> Void

    /// Until the events end, the reader leaves or the server must let go. Returns false when the reader is gone.
    func run() async -> Bool {
        await LineStream(write: write, disconnection: disconnection, interruption: interruption).run(copy)
    }

    private func copy(to lines: ByteMailbox) async throws {
        if let past = feed.past {
            while let piece = await past() { try await lines.write(ByteBuffer(bytes: piece)) }
        }
        guard follows else { return }
        for await event in feed.live { try await lines.write(ByteBuffer(bytes: event.jsonLine)) }
    }
}
