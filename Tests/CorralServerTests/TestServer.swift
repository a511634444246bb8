import CorralPolicy
import Glibc
import Logging
import ServiceLifecycle
import Testing

@testable import CorralServer

/// An API server over a fake engine on a socket of its own, stopped and removed at the end of `body`.
struct TestServer: Sendable {
    let engine: FakeEngine
    let socketPath: String
    let keys: ApiKeys
    let stateDirectory: String
    /// Of its TCP listener on 127.0.0.1, where one was asked for.
    let port: Int
    private let group: ServiceGroup

    func stop() async { await group.triggerGracefulShutdown() }

    func client() throws -> RawClient { try RawClient(socketPath) }

    func tcpClient() throws -> RawClient { try RawClient(port: port) }

    static func run<Result: Sendable>(
        engine: FakeEngine = FakeEngine(), limits: ConnectionLimits = ConnectionLimits(), readers: String = "",
        listens: Bool = false, tls: TLSIdentity? = nil,
        _ body: @Sendable @escaping (TestServer) async throws -> Result
    ) async throws -> Result {
        let directory = try TemporaryDirectory()
        let socket = try ControlSocket(
            path: directory.path + "/run/corral.sock", access: SocketAccess(), readers: readers)
        var logger = Logger(label: "test") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .critical
        let (ready, continuation) = AsyncStream<Int>.makeStream()
        // The directory stays while something is to be written there.
        let keys = ApiKeys(stateDirectory: directory.path) { [directory] in Issue.record("\(directory.path): \($0)") }
        let server = APIServer(
            engine: engine, socket: socket, keys: keys,
            configuration: .init(
                limits: limits,
                listen: listens ? [ListenAddress(address: IPAddress("127.0.0.1")!, port: 0)] : [], tls: tls,
                version: "1.2.3"),
            logger: logger,
            onReady: { ports in
                continuation.yield(ports.first ?? 0)
                continuation.finish()
            }
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
                var port = 0
                for await number in ready { port = number }
                let result: Swift.Result<Result, any Error>
                do {
                    result = .success(
                        try await body(
                            TestServer(
                                engine: engine, socketPath: socket.path, keys: keys, stateDirectory: directory.path,
                                port: port, group: group)))
                } catch {
                    result = .failure(error)
                }
                await group.triggerGracefulShutdown()
                await keys.settle()
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
        for name in ["run/corral.sock", "run/corral.sock.lock", "run/corral-read.sock"] { unlink(path + "/" + name) }
        rmdir(path + "/run")
        for name in [
            "corral.sock", "corral.sock.lock", "corrald.yaml", "notify", "api-keys.json", "tls.pem", "tls.key",
        ] { unlink(path + "/" + name) }
        rmdir(path)
    }
}
