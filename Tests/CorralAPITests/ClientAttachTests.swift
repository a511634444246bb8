import Glibc
import Testing

@testable import CorralAPI

/// Both sides of the attach stream, over a real socket and real pipes.
@Suite struct ClientAttachTests {
    private static let head =
        "HTTP/1.1 200 OK\r\nContent-Type: application/vnd.corral.stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    private static func frame(_ kind: StreamFrameKind, _ payload: [UInt8]) -> [UInt8] {
        StreamFrameHeader(kind: kind, length: payload.count).bytes + payload
    }

    private static func exit(_ code: UInt8, _ word: String) -> [UInt8] {
        frame(.exit, [0, 0, 0, code] + Array(word.utf8))
    }

    @Test func outputIsCopiedByteForByteToItsOwnStream() throws {
        // More than a pipe holds, so that the client waits for its reader more than once.
        let out = (0..<300_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let err = Array("warning\n".utf8)
        let server = try FakeServer { connection in
            _ = connection.readHead()
            connection.write(Self.head)
            connection.writeChunk(Self.frame(.stderr, err))
            // Frames cut across chunks.
            let bytes = Self.frame(.stdout, out) + Self.exit(3, "exited")
            for start in stride(from: 0, to: bytes.count, by: 70_001) {
                connection.writeChunk(Array(bytes[start..<min(bytes.count, start + 70_001)]))
            }
            connection.write("0\r\n\r\n")
        }
        let (stdout, stderr) = (Pipe(), Pipe())
        let (outReader, errReader) = (stdout.collect(), stderr.collect())
        let exit = try Client(host: server.host).attach(
            "a", AttachStreams(stdin: nil, stdout: stdout.writing, stderr: stderr.writing)
        )
        stdout.closeWriting()
        stderr.closeWriting()
        #expect(exit == CommandExit(code: 3, cause: .exited))
        #expect(outReader.wait() == out)
        #expect(errReader.wait() == err)
    }

    @Test func inputIsSentWhileOutputStreamsAndEndsWithStdinEnd() throws {
        // An echo: each stdin frame comes back as output before the next is read.
        let server = try FakeServer { connection in
            _ = connection.readHead()
            connection.write(Self.head)
            while let chunk = connection.readChunk() {
                guard let header = StreamFrameHeader(bytes: chunk.prefix(8)) else { return }
                if header.kind == .stdinEnd { break }
                connection.writeChunk(Self.frame(.stdout, Array(chunk.dropFirst(8))))
            }
            connection.writeChunk(Self.exit(0, "exited"))
        }
        let input = (0..<2_000_000).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ $0 >> 8) }
        let (stdin, stdout) = (Pipe(), Pipe())
        let reader = stdout.collect()
        Thread.start {
            stdin.write(input)
            stdin.closeWriting()
        }
        let exit = try Client(host: server.host).attach(
            "a", AttachStreams(stdin: stdin.reading, stdout: stdout.writing, stderr: stdout.writing)
        )
        stdout.closeWriting()
        #expect(exit?.code == 0)
        #expect(reader.wait() == input)
    }

    @Test func withoutStdinNothingIsSent() throws {
        let seen = Log()
        let server = try FakeServer { connection in
            let head = connection.readHead() ?? ""
            seen.add(head.contains("Transfer-Encoding: chunked") ? "chunked" : "not chunked")
            connection.write(Self.head)
            connection.writeChunk(Self.exit(0, "exited"))
            seen.add(connection.readChunk() == nil ? "nothing" : "something")
        }
        let stdout = Pipe()
        _ = try Client(host: server.host).attach(
            "a", AttachStreams(stdin: nil, stdout: stdout.writing, stderr: stdout.writing))
        for _ in 0..<100 where seen.lines.count < 2 { usleep(10_000) }
        #expect(seen.lines == ["chunked", "nothing"])
    }

    @Test func signalsAreForwardedEvenWhileNobodyReadsTheOutput() throws {
        let seen = Log()
        let server = try FakeServer { connection in
            _ = connection.readHead()
            connection.write(Self.head)
            // More than the pipe and both sockets hold is never read; the signal must still come.
            Thread.start { [descriptor = dup(connection.descriptor)] in
                let flood = FakeConnection(descriptor: descriptor)
                for _ in 0..<40 { flood.writeChunk(Self.frame(.stdout, [UInt8](repeating: 0x78, count: 1 << 16))) }
                flood.writeChunk(Self.exit(143, "signalled"))
            }
            while let chunk = connection.readChunk() { seen.add("\(chunk)") }
        }
        let (stdout, signals) = (Pipe(), Pipe())
        Thread.start {
            usleep(100_000)
            signals.write([UInt8(SIGTERM)])
            for _ in 0..<200 where seen.lines.isEmpty { usleep(10_000) }
            seen.add("reading")
            // Only now is the output read.
            _ = stdout.collect()
        }
        let exit = try Client(host: server.host).attach(
            "a", AttachStreams(stdin: nil, stdout: stdout.writing, stderr: stdout.writing, signals: signals.reading)
        )
        #expect(exit == CommandExit(code: 143, cause: .signalled))
        #expect(seen.lines == ["\(Self.frame(.signal, [UInt8(SIGTERM)]))", "reading"])
    }

    @Test func aReaderThatLeavesEndsTheCallAndTheConnection() throws {
        let seen = Log()
        let server = try FakeServer { connection in
            _ = connection.readHead()
            connection.write(Self.head)
            connection.writeChunk(Self.frame(.stdout, Array("x".utf8)))
            seen.add(connection.readChunk() == nil ? "gone" : "there")
        }
        signal(SIGPIPE, SIG_IGN)
        let stdout = Pipe()
        stdout.closeReading()
        #expect(throws: ClientError.outputClosed) {
            try Client(host: server.host).attach(
                "a", AttachStreams(stdin: nil, stdout: stdout.writing, stderr: stdout.writing))
        }
        for _ in 0..<100 where seen.lines.isEmpty { usleep(10_000) }
        #expect(seen.lines == ["gone"])
    }

    @Test func aDaemonThatVanishesIsAnErrorAndNotAnExit() throws {
        let server = try FakeServer(answer: Self.head)
        let stdout = Pipe()
        #expect(throws: ClientError.closed(during: "an answer")) {
            try Client(host: server.host).attach(
                "a", AttachStreams(stdin: nil, stdout: stdout.writing, stderr: stdout.writing))
        }
        let ended = try FakeServer(answer: Self.head + "0\r\n\r\n")
        #expect(throws: ClientError.closed(during: "a command")) {
            try Client(host: ended.host).attach(
                "a", AttachStreams(stdin: nil, stdout: stdout.writing, stderr: stdout.writing))
        }
    }

    @Test func aRefusalComesBeforeAnyByteIsMoved() throws {
        let body = #"{"code":"conflict","message":"attached elsewhere"}"#
        let server = try FakeServer(
            answer: "HTTP/1.1 409 Conflict\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)")
        let stdout = Pipe()
        #expect(throws: ClientError.refused(status: 409, ErrorBody(code: "conflict", message: "attached elsewhere"))) {
            try Client(host: server.host).attach(
                "a", AttachStreams(stdin: nil, stdout: stdout.writing, stderr: stdout.writing))
        }
    }

    @Test func outputThatIsNoFrameIsAnError() throws {
        let server = try FakeServer { connection in
            _ = connection.readHead()
            connection.write(Self.head)
            connection.writeChunk([9, 9, 9, 9, 9, 9, 9, 9])
            _ = connection.readHead()
        }
        let stdout = Pipe()
        #expect(throws: ClientError.badResponse("in the command's output: no frame")) {
            try Client(host: server.host).attach(
                "a", AttachStreams(stdin: nil, stdout: stdout.writing, stderr: stdout.writing))
        }
    }
}

/// A pipe whose ends are closed with it.
private final class Pipe: @unchecked Sendable {
    // Safety: each end is closed by one thread, once.
    private(set) var reading: Int32
    private(set) var writing: Int32

    init() {
        var ends: [Int32] = [-1, -1]
        _ = pipe(&ends)
        (reading, writing) = (ends[0], ends[1])
    }

    deinit {
        closeReading()
        closeWriting()
    }

    func closeReading() {
        if reading >= 0 { close(reading) }
        reading = -1
    }

    func closeWriting() {
        if writing >= 0 { close(writing) }
        writing = -1
    }

    func write(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(writing, $0.baseAddress, $0.count) }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    /// Reads until the last writer is gone.
    func collect() -> Collector {
        Collector(descriptor: dup(reading))
    }
}

private final class Collector: Sendable {
    private let result = Log()
    private let bytes = Bytes()

    init(descriptor: Int32) {
        let (bytes, result) = (bytes, result)
        Thread.start {
            var chunk = [UInt8](repeating: 0, count: 8192)
            while true {
                let count = read(descriptor, &chunk, chunk.count)
                guard count > 0 else { break }
                bytes.add(chunk[..<count])
            }
            close(descriptor)
            result.add("end")
        }
    }

    /// All that was written, once it has ended; waits at most ten seconds.
    func wait() -> [UInt8] {
        for _ in 0..<1000 where result.lines.isEmpty { usleep(10_000) }
        return result.lines.isEmpty ? [] : bytes.all
    }
}
