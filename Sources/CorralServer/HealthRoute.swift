internal import CorralEngine
internal import HTTPTypes
internal import Hummingbird
internal import Synchronization

/// `GET /healthz`: whether to send this host more work. Asks the engine once in a second at most, whoever asks.
final class HealthRoute: Sendable {
    private struct Answer: Encodable {
        /// `ok`, or `full`: no place for another sandbox.
        var status: String
        /// `failing` while the audit journal cannot be written.
        var journal: String
        /// `enforced` while BPF LSM programs refuse what is asked of them on purpose, else `absent`.
        var lsm: String
    }

    private let engine: any SandboxEngine
    private let last = Mutex<(at: ContinuousClock.Instant, statistics: EngineStatistics)?>(nil)

    init(engine: any SandboxEngine) {
        self.engine = engine
    }

    func health(_ routed: RoutedRequest) async throws -> Response {
        let statistics = await statistics()
        let slots = statistics.slots
        let isFull = slots.limit > 0 && slots.used >= slots.limit && statistics.pool.warm == 0
        let answer = Answer(
            status: isFull ? "full" : "ok", journal: statistics.journal.isFailing ? "failing" : "ok",
            lsm: statistics.isLsmEnforced ? "enforced" : "absent")
        var response = Response.json(answer, status: isFull ? .serviceUnavailable : .ok)
        response.headers[.cacheControl] = "no-store"
        return response
    }

    private func statistics() async -> EngineStatistics {
        let now = ContinuousClock.now
        if let known = last.withLock({ $0 }), now - known.at < .seconds(1) { return known.statistics }
        let statistics = await engine.statistics()
        last.withLock { $0 = (now, statistics) }
        return statistics
    }
}
