import CorralAPI
import Glibc
import Testing

@Suite struct UploadTests {
    private static let piece = [UInt8](repeating: 7, count: 256 << 10)

    /// `count` pieces; more than any socket's buffers hold.
    private static func upload(_ count: Int, to server: FakeServer) throws -> Image {
        try Client(host: server.host).importImage("a") { upload in
            for _ in 0..<count { try piece.withUnsafeBytes { try upload.write($0) } }
        }
    }

    @Test func anUploadThatIsReadToItsEndIsAnswered() throws {
        let server = try FakeServer { connection in
            _ = connection.readRequest()
            while connection.readChunk() != nil {}
            let body =
                #"{"name":"a","source":"rootfs","layers":[],"size":1,"entries":1,"env":[],"entrypoint":[],"#
                + #""command":[],"omitted":{"devices":0,"capabilities":0,"attributes":0}}"#
            connection.write("HTTP/1.1 201 Created\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
        }
        #expect(try Self.upload(8, to: server).name == "a")
    }

    /// The server answers, keeps the connection and never reads on.
    @Test(.timeLimit(.minutes(1))) func aRefusalInTheMiddleEndsAnUpload() throws {
        let server = try FakeServer { connection in
            _ = connection.readRequest()
            let body = #"{"code":"exhausted","message":"no room","detail":[]}"#
            connection.write("HTTP/1.1 503 Service Unavailable\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
            // Until the client is gone, without taking anything that it sends.
            var wait = pollfd(fd: connection.descriptor, events: 0, revents: 0)
            _ = poll(&wait, 1, 50_000)
        }
        let error = #expect(throws: ClientError.self) { try Self.upload(64, to: server) }
        guard case .refused(503, let body) = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(body.message == "no room")
    }
}
