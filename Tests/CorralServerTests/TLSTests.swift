import CorralAPI
import CorralEvents
import Dispatch
import Glibc
import Testing

@testable import CorralServer

/// The client's TLS against the server's, over TCP on 127.0.0.1.
@Suite struct TLSTests {
    /// Makes `NAME.pem` and `NAME.key` for 127.0.0.1 (openssl(1)), until this value goes.
    private final class Certificate: Sendable {
        let directory: TemporaryDirectory
        var path: String { directory.path + "/tls.pem" }
        var key: String { directory.path + "/tls.key" }

        init() throws {
            directory = try TemporaryDirectory()
            let command = """
                openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=test \
                -addext subjectAltName=IP:127.0.0.1 -keyout '\(directory.path)/tls.key' -out '\(directory.path)/tls.pem' 2>/dev/null
                """
            try #require(system(command) == 0, "openssl is needed")
            chmod(directory.path + "/tls.key", 0o600)
        }

        func identity() throws -> TLSIdentity {
            try TLSIdentity(certificate: path, key: key) { Issue.record("\($0)") }
        }
    }

    /// `Client` blocks.
    private static func blocking<Value: Sendable>(
        _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(with: Result { try body() }) }
        }
    }

    private static func served<Value: Sendable>(
        roots: String? = nil, name: String = "127.0.0.1", _ body: @escaping @Sendable (Client) throws -> Value
    ) async throws -> Value {
        let certificate = try Certificate()
        return try await TestServer.run(listens: true, tls: certificate.identity()) { server in
            let key = try await server.keys.create(CreateApiKeyRequest(name: "t", scope: .admin)).token
            await server.engine.add("sb-1")
            let host = "https://\(name):\(server.port)"
            return try await blocking {
                try body(
                    Client(host: host, apiKey: key, tls: TLSProgram(roots: roots ?? certificate.path)))
            }
        }
    }

    @Test func whoTrustsTheCertificateIsServed() async throws {
        let (count, version) = try await Self.served { client in
            // Twice over one connection, and on a second one.
            let count = try client.sandboxes().count
            _ = try client.pool()
            let pieces = try client.events(matching: EventFilter(), Client.EventSpan(follow: false))
            _ = try pieces.next()
            return (count, try client.version().version)
        }
        #expect(count == 1)
        #expect(version == "1.2.3")
    }

    @Test func whoDoesNotTrustItOrAsksForAnotherNameSendsNothing() async throws {
        let other = try Certificate()
        for (roots, name) in [(other.path, "127.0.0.1"), (nil, "localhost")] {
            let error = await #expect(throws: ClientError.self) {
                try await Self.served(roots: roots, name: name) { client in try client.sandboxes().count }
            }
            guard case .tls? = error else {
                Issue.record("\(String(describing: error))")
                continue
            }
        }
    }

    @Test func uploadsGoThroughWhole() async throws {
        let entries = try await Self.served { client in
            try client.copyIn("sb-1", path: "/x", .into) { upload in
                let piece = [UInt8](repeating: 7, count: 100_000)
                for _ in 0..<30 { try piece.withUnsafeBytes { try upload.write($0) } }
            }.entries
        }
        #expect(entries == 3)
    }

    @Test func refusalsOfUploadsAreRead() async throws {
        let error = await #expect(throws: ClientError.self) {
            try await Self.served { client in
                try client.importImage("bad") { upload in
                    let piece = [UInt8](repeating: 7, count: 100_000)
                    for _ in 0..<300 { try piece.withUnsafeBytes { try upload.write($0) } }
                }.name
            }
        }
        guard case .refused(400, _)? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
    }

    @Test func clearTextIsNotAnswered() async throws {
        let certificate = try Certificate()
        try await TestServer.run(listens: true, tls: certificate.identity()) { server in
            let client = try server.tcpClient()
            #expect(await client.request("GET", "/healthz").status == 0)
            // Whoever says nothing is closed in time, as without TLS.
            #expect(try await server.client().request("GET", "/healthz").status == 200)
        }
    }

    @Test func aClientThatBeginsNoHandshakeIsClosed() async throws {
        let certificate = try Certificate()
        let limits = ConnectionLimits(headerTimeout: .milliseconds(300))
        try await TestServer.run(limits: limits, listens: true, tls: certificate.identity()) { server in
            let silent = try server.tcpClient()
            let slow = try server.tcpClient()
            // The head of a record that never comes.
            await slow.send([0x16, 0x03, 0x01, 0x02, 0x00])
            #expect(await silent.isAtEnd())
            #expect(await slow.isAtEnd())
        }
    }

    @Test func keysThatOthersReadOrThatDoNotFitAreRefused() throws {
        let (one, two) = (try Certificate(), try Certificate())
        _ = try one.identity()
        #expect(throws: (any Error).self) { try TLSIdentity(certificate: one.path, key: two.key) { _ in } }
        #expect(throws: (any Error).self) { try TLSIdentity(certificate: one.path, key: "/nonexistent") { _ in } }
        #expect(throws: (any Error).self) { try TLSIdentity(certificate: one.key, key: one.key) { _ in } }
        chmod(one.key, 0o644)
        #expect(throws: ControlSocketError.self) { try one.identity() }
        chmod(one.key, 0o640)
        _ = try one.identity()
    }
}
