internal import CorralAPI
internal import CorralEngine
internal import CorralServer
internal import Glibc
internal import Logging
internal import Metrics
internal import ServiceLifecycle
internal import UnixSignals

/// An engine and its API from start to stop.
struct Daemon {
    let settings: DaemonConfiguration
    /// How many files this process may have open.
    let descriptors: Int
    let logger: Logger

    /// Returns after a clean stop; throws when it could not start or had to give up.
    func run() async throws {
        // Before anything is made, so that a signal during the start is not lost.
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        let socket = try ControlSocket(path: settings.socketPath)
        let metrics = MetricsRegistry()
        MetricsSystem.bootstrap(metrics)
        let engine = try await Engine(
            configuration: EngineConfiguration(
                instance: settings.instance, stateDirectory: settings.stateDirectory,
                runDirectory: settings.runDirectory,
                subnet: settings.subnet, subnet6: settings.subnet6, poolSize: settings.pool,
                poolLow: settings.poolLow, poolRate: settings.poolRate,
                allowTestSwitches: settings.allowTestSwitches, names: settings.names, journal: settings.journal,
                mounts: settings.mounts
            )
        )
        if settings.allowTestSwitches {
            logger.warning(
                "test switches are allowed: a client may start sandboxes without seccomp or with capabilities")
        }
        let server = APIServer(
            engine: engine, socket: socket,
            // An attached client costs three more descriptors, the command's pipes.
            configuration: APIServer.Configuration(
                maximumConnections: max(64, descriptors / 5), version: Release.version),
            metrics: metrics, logger: logger,
            onReady: { [logger, settings] in
                logger.info(
                    "ready", metadata: ["socket": "\(settings.socketPath)", "instance": "\(settings.instance)"])
                HostProcess.notify("READY=1")
            }
        )
        // Stopped from the last to the first: clients before sandboxes.
        let services: [any Service] = [EngineService(engine: engine), server]
        let group = ServiceGroup(
            configuration: ServiceGroupConfiguration(
                services: services.map {
                    ServiceGroupConfiguration.ServiceConfiguration(
                        service: $0, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup
                    )
                },
                logger: logger
            )
        )
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { await stop(group, on: signals) }
            defer { tasks.cancelAll() }
            try await group.run()
        }
    }

    /// The first signal stops in good order, the second at once: what is pinned in the kernel goes on enforcing.
    private func stop(_ group: ServiceGroup, on signals: UnixSignalsSequence) async {
        var isStopping = false
        for await signal in signals {
            if isStopping {
                logger.warning("second signal: leaving at once", metadata: ["signal": "\(signal)"])
                _exit(1)
            }
            isStopping = true
            logger.info("stopping", metadata: ["signal": "\(signal)"])
            HostProcess.notify("STOPPING=1")
            await group.triggerGracefulShutdown()
        }
    }
}

/// Runs an engine until the group stops; its `run` then destroys every sandbox.
private struct EngineService: Service, CustomStringConvertible {
    let engine: Engine

    var description: String { "engine" }

    func run() async throws {
        do {
            try await cancelWhenGracefulShutdown { try await engine.run() }
        } catch is CancellationError {
            // How it was stopped, not a failure.
        }
    }
}
