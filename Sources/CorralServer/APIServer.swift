internal import CorralAPI
internal import CorralEngine
internal import Hummingbird
internal import HummingbirdCore
public import Logging
public import ServiceLifecycle
internal import Synchronization

/// The HTTP API over a unix socket. On graceful shutdown it stops accepting, ends its streams and removes the socket.
public struct APIServer: Service {
    public struct Configuration: Sendable {
        /// Absolute, at most 107 bytes.
        public var socketPath: String
        /// May use the socket beside root; ignored when the host has no such group.
        public var group = "corral"
        /// Connections beyond this wait in the kernel's queue.
        public var maximumConnections: Int
        /// Shown by `/v1/version`.
        public var version: String
        public var abi: UInt32

        public init(socketPath: String, maximumConnections: Int, version: String, abi: UInt32) {
            self.socketPath = socketPath
            self.maximumConnections = maximumConnections
            self.version = version
            self.abi = abi
        }
    }

    private let engine: any SandboxEngine
    private let configuration: Configuration
    private let logger: Logger
    private let onReady: @Sendable () async -> Void

    /// `onReady` runs once clients can connect.
    public init(
        engine: any SandboxEngine, configuration: Configuration, logger: Logger, onReady: @escaping @Sendable () async -> Void = {}
    ) {
        self.engine = engine
        self.configuration = configuration
        self.logger = logger
        self.onReady = onReady
    }

    /// Throws `ControlSocketError` or `SystemCallError` when the socket cannot be had. The process's umask must deny
    /// others everything (0o077): the socket's mode is set after it is bound.
    public func run() async throws {
        let socket = try ControlSocket.prepare(path: configuration.socketPath, group: configuration.group)
        let version = VersionInfo(
            version: configuration.version, abi: configuration.abi, instance: engine.configuration.instance,
            kernel: KernelRelease.current
        )
        let admission = Admission(socket)
        let application = Application(
            responder: APIResponder(engine: engine, version: version),
            configuration: ApplicationConfiguration(
                address: .unixDomainSocket(path: configuration.socketPath), backlog: 1024,
                availableConnectionsDelegate: MaximumAvailableConnections(configuration.maximumConnections)
            ),
            onServerRunning: { [onReady] channel in
                if admission.open() {
                    await onReady()
                } else {
                    channel.close(promise: nil)
                }
            },
            logger: logger
        )
        defer { admission.close() }
        try await application.run()
        try admission.check()
    }
}

/// The socket while the server runs on it, and what went wrong when it was opened to clients.
private final class Admission: Sendable {
    private struct State: ~Copyable {
        let socket: ControlSocket
        var error: SystemCallError?
    }

    private let state: Mutex<State>

    init(_ socket: consuming ControlSocket) {
        state = Mutex(State(socket: socket))
    }

    func open() -> Bool {
        state.withLock { state in
            do throws(SystemCallError) {
                try state.socket.admit()
                return true
            } catch {
                state.error = error
                return false
            }
        }
    }

    func check() throws(SystemCallError) {
        if let error = state.withLock({ $0.error }) { throw error }
    }

    func close() {
        state.withLock { $0.socket.remove() }
    }
}
