internal import NIOCore

/// Lines to one reader: each at once, those already waiting in one piece.
struct LineStream: Sendable {
    /// Lines that may wait for the reader; beyond it the engine's own queue fills, then counts what is lost.
    static let pendingLimit = 256 << 10

    let write: @Sendable (ByteBuffer) async throws -> Void
    /// Returns once the reader is gone.
    let disconnection: @Sendable () async -> Void
    /// Returns once the server must let go.
    let interruption: @Sendable () async -> Void

    /// Until `produce` returns, the reader leaves or the server must let go. Returns false when the reader is gone.
    func run(_ produce: @escaping @Sendable (ByteMailbox) async throws -> Void) async -> Bool {
        let lines = ByteMailbox(limit: Self.pendingLimit)
        return await StreamWork.run(
            { [write] in
                try await withThrowingTaskGroup(of: Void.self) { group in
                    group.addTask {
                        try? await produce(lines)
                        lines.finish()
                    }
                    defer { group.cancelAll() }
                    while let piece = await lines.read() { try await write(piece) }
                }
            }, disconnection: disconnection, interruption: interruption)
    }
}
