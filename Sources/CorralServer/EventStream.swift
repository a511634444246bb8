internal import CorralEvents
internal import NIOCore

/// Events to one reader as JSON lines: each at once, those already waiting in one piece.
struct EventStream: Sendable {
    let events: AsyncStream<Event>
    let write: @Sendable (ByteBuffer) async throws -> Void
    /// Returns once the reader is gone.
    let disconnection: @Sendable () async -> Void
    /// Returns once the server must let go.
    let interruption: @Sendable () async -> Void

    /// Until the events end, the reader leaves or the server must let go. Returns false when the reader is gone.
    func run() async -> Bool {
        await LineStream(write: write, disconnection: disconnection, interruption: interruption).run { lines in
            for await event in events { try await lines.write(ByteBuffer(bytes: event.jsonLine)) }
        }
    }
}
