internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird
internal import HummingbirdCore
public import Logging
internal import NIOCore
public import ServiceLifecycle
internal import Synchronization

/// The HTTP API over unix sockets, and over TCP where that is configured. On graceful shutdown it stops accepting, ends its
/// streams and removes the sockets.
public struct APIServer: Service, CustomStringConvertible {
    public struct Configuration: Sendable {
        public var limits: ConnectionLimits
        /// Served to holders of an API key. A port of 0 is chosen by the kernel.
        public var listen: [ListenAddress]
        /// For `listen`; nil: without TLS.
        public var tls: TLSIdentity?
        /// Shown by `/v1/version`.
        public var version: String

        public init(
            limits: ConnectionLimits = ConnectionLimits(), listen: [ListenAddress] = [], tls: TLSIdentity? = nil,
            version: String
        ) {
            self.limits = limits
            self.listen = listen
            self.tls = tls
            self.version = version
        }
    }

    private let engine: any SandboxEngine
    private let socket: ControlSocket
    private let keys: ApiKeys
    private let configuration: Configuration
    private let metrics: MetricsRegistry
    private let logger: Logger
    private let onReady: @Sendable ([Int]) async -> Void

    /// `onReady` runs once clients can connect, with the ports of `configuration.listen`. `metrics`: what `/metrics` shows
    /// beside the engine's counts.
    public init(
        engine: any SandboxEngine, socket: ControlSocket, keys: ApiKeys, configuration: Configuration,
        metrics: MetricsRegistry = MetricsRegistry(), logger: Logger,
        onReady: @escaping @Sendable ([Int]) async -> Void = { _ in }
    ) {
        self.engine = engine
        self.socket = socket
        self.keys = keys
        self.configuration = configuration
        self.metrics = metrics
        self.logger = logger
        self.onReady = onReady
    }

    public var description: String { "API server" }

    private var listeners: [Listener] {
        [.unix(path: socket.path, .admin)] + (socket.readersPath.map { [.unix(path: $0, .read)] } ?? [])
            + configuration.listen.map { .tcp($0, configuration.tls) }
    }

    /// Throws when one of the sockets cannot be bound. The process's umask must deny others everything (0o077): the sockets'
    /// modes are set after they are bound.
    public func run() async throws {
        let version = VersionInfo(
            version: configuration.version, abi: EventWire.abiVersion, instance: engine.configuration.instance,
            kernel: KernelRelease.current
        )
        let connections = Connections(configuration.limits)
        let responder = APIResponder(
            engine: engine, version: version, metrics: metrics, keys: keys, connections: connections)
        let listeners = listeners
        let bound = Bound(count: listeners.count)
        defer { socket.remove() }
        try await withThrowingTaskGroup(of: Void.self) { tasks in
            for (index, listener) in listeners.enumerated() {
                let application = Application(
                    responder: responder, server: listener.builder(connections),
                    configuration: ApplicationConfiguration(
                        address: listener.bindAddress, backlog: 1024,
                        availableConnectionsDelegate: MaximumAvailableConnections(
                            configuration.limits.connections + ConnectionLimits.margin)
                    ),
                    onServerRunning: { [socket, onReady] channel in
                        guard let ports = bound.add(index, channel) else { return }
                        do throws(SystemCallError) {
                            try socket.admit()
                        } catch {
                            bound.fail(error)
                            return
                        }
                        await onReady(ports)
                    },
                    logger: logger
                )
                tasks.addTask { try await application.run() }
            }
            // One that fails ends all.
            defer { tasks.cancelAll() }
            do {
                try await tasks.waitForAll()
            } catch {
                throw bound.error ?? error
            }
        }
    }
}

/// The listening sockets, until all are bound.
private final class Bound: Sendable {
    private struct State {
        var channels: [Int: any Channel] = [:]
        var error: SystemCallError?
    }

    private let count: Int
    private let state = Mutex(State())

    init(count: Int) {
        self.count = count
    }

    var error: SystemCallError? { state.withLock { $0.error } }

    /// The ports of those over TCP, once all are there.
    func add(_ index: Int, _ channel: any Channel) -> [Int]? {
        state.withLock { state in
            state.channels[index] = channel
            guard state.channels.count == count else { return nil }
            return state.channels.sorted { $0.key < $1.key }.compactMap { $0.value.localAddress?.port }
        }
    }

    func fail(_ error: SystemCallError) {
        state.withLock { $0.error = error }
        close()
    }

    func close() {
        for channel in state.withLock({ $0.channels.values }) { channel.close(promise: nil) }
    }
}
