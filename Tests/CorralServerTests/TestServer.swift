import CorralServer
import Glibc
import Logging
import ServiceLifecycle

/// An API server over a fake engine on a socket of its own, stopped and removed at the end of `body`.
struct TestServer: Sendable {
    let engine: FakeEngine
    let socketPath: String
    private let group: ServiceGroup

    func stop() async { await group.triggerGracefulShutdown() }

    func client() throws -> RawClient { try RawClient(socketPath) }

    static func run<Result: Sendable>(
        engine: FakeEngine = FakeEngine(), _ body: @Sendable @escaping (TestServer) async throws -> Result
    ) async throws -> Result {
        let directory = try TemporaryDirectory()
        let socket = try ControlSocket(path: directory.path + "/run/corral.sock")
        var logger = Logger(label: "test") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .critical
        let (ready, continuation) = AsyncStream<Never>.makeStream()
        let server = APIServer(
            engine: engine, socket: socket, configuration: .init(maximumConnections: 64, version: "1.2.3"),
            logger: logger,
            onReady: { continuation.finish() }
        )
        let group = ServiceGroup(
            configuration: .init(
                services: [.init(service: server, successTerminationBehavior: .gracefullyShutdownGroup)], logger: logger
            )
        )
        return try await withThrowingTaskGroup(of: Result?.self) { tasks in
            tasks.addTask {
                try await group.run()
                return nil
            }
            tasks.addTask {
                for await _ in ready {}
                let result: Swift.Result<Result, any Error>
                do {
                    result = .success(try await body(TestServer(engine: engine, socketPath: socket.path, group: group)))
                } catch {
                    result = .failure(error)
                }
                await group.triggerGracefulShutdown()
                return try result.get()
            }
            var result: Result?
            while let next = try await tasks.next() { result = next ?? result }
            guard let result else { throw ServerEndedEarly() }
            return result
        }
    }

    struct ServerEndedEarly: Error {}
}

/// Removed with all that is in it, two levels deep.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/corral-server-XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw SystemCallError("mkdtemp", "/tmp") }
        path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    }

    deinit {
        for name in ["run/corral.sock", "run/corral.sock.lock"] { unlink(path + "/" + name) }
        rmdir(path + "/run")
        for name in ["corral.sock", "corral.sock.lock", "corrald.yaml", "notify"] { unlink(path + "/" + name) }
        rmdir(path)
    }
}
