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
    /// For `EngineConfiguration.testObjects`, where test switches are allowed.
    var testObjects: String?

    /// Returns after a clean stop; throws when it could not start or had to give up.
    func run() async throws {
        // Before anything is made, so that a signal during the start is not lost.
        let signals = await UnixSignalsSequence(trapping: .sigterm, .sigint)
        let socket = try ControlSocket(
            path: settings.socketPath,
            access: SocketAccess(
                owner: settings.socketOwner, group: settings.socketGroup, mode: settings.socketMode),
            readers: settings.socketReaders)
        let report: @Sendable (String) -> Void = { [logger] in logger.error("\($0)") }
        // Before anything is made: what cannot be served is not begun.
        let tls = try settings.tls.map { try TLSIdentity(certificate: $0.certificate, key: $0.key, report: report) }
        let metrics = MetricsRegistry()
        MetricsSystem.bootstrap(metrics)
        var configuration = EngineConfiguration(
            instance: settings.instance, stateDirectory: settings.stateDirectory,
            runDirectory: settings.runDirectory,
            subnet: settings.subnet, subnet6: settings.subnet6, poolSize: settings.pool,
            poolLow: settings.poolLow, poolRate: settings.poolRate,
            allowTestSwitches: settings.allowTestSwitches, names: settings.names, journal: settings.journal,
            mounts: settings.mounts
        )
        configuration.testObjects = settings.allowTestSwitches ? testObjects : nil
        let engine = try await Engine(configuration: configuration)
        if settings.allowTestSwitches {
            logger.warning(
                "test switches are allowed: a client may start sandboxes without seccomp or with capabilities")
        }
        let keys = ApiKeys(stateDirectory: settings.stateDirectory, report: report)
        let server = APIServer(
            engine: engine, socket: socket, keys: keys,
            configuration: APIServer.Configuration(
                limits: limits, listen: settings.listen, tls: tls, version: Release.version),
            metrics: metrics, logger: logger,
            onReady: { [logger, settings] _ in
                logger.info(
                    "ready",
                    metadata: [
                        "socket": "\(settings.socketPath)", "instance": "\(settings.instance)",
                        "listen": "\(settings.listen.map(\.description).joined(separator: ", "))",
                    ])
                HostProcess.notify("READY=1")
            }
        )
        // Stopped from the last to the first: clients before sandboxes.
        let services: [any Service] = [EngineService(engine: engine), server, Watchdog(engine: engine)]
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

    private var limits: ConnectionLimits {
        var limits = settings.limits
        // An attached client costs three more descriptors, the command's pipes.
        if limits.connections == 0 { limits.connections = max(64, descriptors / 5) }
        // One client leaves room for others.
        limits.connectionsPerClient = min(limits.connectionsPerClient, max(1, limits.connections / 4 * 3))
        return limits
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

/// Tells the service manager that the engine still answers, where it wants to know (WatchdogSec=).
private struct Watchdog: Service, CustomStringConvertible {
    let engine: Engine

    var description: String { "watchdog" }

    func run() async throws {
        let interval = HostProcess.watchdogInterval
        try? await cancelWhenGracefulShutdown {
            while true {
                // Half of the time, as sd_watchdog_enabled(3) advises; without a watchdog, for ever.
                try await Task.sleep(for: interval.map { $0 / 2 } ?? .seconds(86_400))
                guard interval != nil else { continue }
                _ = await engine.pool()
                HostProcess.notify("WATCHDOG=1")
            }
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
