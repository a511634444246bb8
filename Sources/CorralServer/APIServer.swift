internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird
internal import HummingbirdCore
public import Logging
public import ServiceLifecycle
internal import Synchronization

/// The HTTP API over a unix socket. On graceful shutdown it stops accepting, ends its streams and removes the socket.
public struct APIServer: Service, CustomStringConvertible {
    public struct Configuration: Sendable {
        /// Connections beyond this wait in the kernel's queue.
        public var maximumConnections: Int
        /// Shown by `/v1/version`.
        public var version: String

        public init(maximumConnections: Int, version: String) {
            self.maximumConnections = maximumConnections
            self.version = version
        }
    }

    private let engine: any SandboxEngine
    private let socket: ControlSocket
    private let configuration: Configuration
    private let metrics: MetricsRegistry
    private let logger: Logger
    private let onReady: @Sendable () async -> Void

    /// `onReady` runs once clients can connect. `metrics`: what `/metrics` shows beside the engine's counts.
    public init(
        engine: any SandboxEngine, socket: ControlSocket, configuration: Configuration,
        metrics: MetricsRegistry = MetricsRegistry(), logger: Logger,
        onReady: @escaping @Sendable () async -> Void = {}
    ) {
        self.engine = engine
        self.socket = socket
        self.configuration = configuration
        self.metrics = metrics
        self.logger = logger
        self.onReady = onReady
    }

    public var description: String { "API server" }

    /// Throws when the socket cannot be bound. The process's umask must deny others everything (0o077): the socket's mode
    /// is set after it is bound.
    public func run() async throws {
        let version = VersionInfo(
            version: configuration.version, abi: EventWire.abiVersion, instance: engine.configuration.instance,
            kernel: KernelRelease.current
        )
        let admission = Mutex(SystemCallError?.none)
        let application = Application(
            responder: APIResponder(engine: engine, version: version, metrics: metrics),
            configuration: ApplicationConfiguration(
                address: .unixDomainSocket(path: socket.path), backlog: 1024,
                availableConnectionsDelegate: MaximumAvailableConnections(configuration.maximumConnections)
            ),
            onServerRunning: { [socket, onReady] channel in
                do throws(SystemCallError) {
                    try socket.admit()
                } catch {
                    admission.withLock { $0 = error }
                    channel.close(promise: nil)
                    return
                }
                await onReady()
            },
            logger: logger
        )
        defer { socket.remove() }
        try await application.run()
        if let error = admission.withLock({ $0 }) { throw error }
    }
}
