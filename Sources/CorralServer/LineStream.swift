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
        return await withTaskGroup(of: Bool?.self) { group in
            group.addTask {
                try? await produce(lines)
                lines.finish()
                return nil
            }
            group.addTask {
                while let piece = await lines.read() {
                    do { try await write(piece) } catch { return false }
                }
                return Task.isCancelled ? nil : true
            }
            group.addTask {
                await disconnection()
                return Task.isCancelled ? nil : false
            }
            group.addTask {
                await interruption()
                return Task.isCancelled ? nil : true
            }
            var isThere: Bool?
            while isThere == nil, let next = await group.next() { isThere = next }
            group.cancelAll()
            return isThere ?? false
        }
    }
}
