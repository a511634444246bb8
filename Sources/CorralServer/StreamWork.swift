/// What is done for one reader of a stream.
enum StreamWork {
    /// Until `work` returns or fails, `disconnection` returns, which is when the reader is gone, or `interruption` does, which is
    /// when the server must let go. What is unfinished then is cancelled, and waited for. Returns false when the reader is
    /// gone, of which a failure of `work` is a sign.
    static func run(
        _ work: @escaping @Sendable () async throws -> Void,
        disconnection: @escaping @Sendable () async -> Void, interruption: @escaping @Sendable () async -> Void
    ) async -> Bool {
        await withTaskGroup(of: Bool?.self) { group in
            group.addTask {
                do { try await work() } catch { return Task.isCancelled ? nil : false }
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
