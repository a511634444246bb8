internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird

/// `/v1/sandboxes/stats`.
struct StatsRoutes: Sendable {
    let engine: any SandboxEngine

    func stats(_ routed: RoutedRequest) async throws -> Response {
        .json(await engine.usage().map(SandboxStats.init))
    }
}

extension SandboxStats {
    init(_ measured: SandboxUsage) {
        let sandbox = Sandbox(measured.info)
        self.init(
            id: sandbox.id, name: sandbox.name, state: sandbox.state, time: RFC3339.text(measured.time),
            cpuNs: measured.cpuTime, memoryBytes: measured.memory, processes: measured.processes,
            counters: sandbox.counters)
    }
}
