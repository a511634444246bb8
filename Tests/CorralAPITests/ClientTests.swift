import CorralEvents
import Glibc
import Synchronization
import Testing

@testable import CorralAPI

@Suite struct ClientTests {
    private static let sandbox = """
        {"id":"sb-1","name":"a","state":"running","image":"host","policy":{"name":"p","generation":1,"mode":"enforce"},\
        "command":["true"],"ipv4":"10.0.0.1","ipv6":"fd00::1","hostPid":7,"createdAt":"2026-11-24T05:12:01.000000000Z",\
        "counters":{"allowed":1,"denied":2,"packetsOut":3,"bytesOut":4,"packetsIn":5,"bytesIn":6,"events":7,"eventsLost":0,\
        "connections":1,"throttled":0,"exhausted":0},\
        "budgets":{"bytes":{"used":4,"limit":100},"connections":{"used":1},"dnsQueries":{"used":0}},"published":[{"hostPort":8080,"sandboxPort":80}]}
        """

    private static func answer(_ status: String, _ body: String) -> String {
        "HTTP/1.1 \(status)\r\nContent-Type: application/json\r\nContent-Length: \(body.utf8.count)\r\n\r\n\(body)"
    }

    @Test func callsShareOneConnectionAndSayWhatTheyAsk() throws {
        let seen = Log()
        let server = try FakeServer { connection in
            seen.add("connection")
            while let request = connection.readRequest() {
                seen.add(request.body.isEmpty ? request.line : "\(request.line) \(request.body)")
                switch request.line {
                case "GET /v1/sandboxes": connection.write(Self.answer("200 OK", "[\(Self.sandbox)]"))
                case "POST /v1/sandboxes": connection.write(Self.answer("201 Created", Self.sandbox))
                case "GET /v1/sandboxes/a%20%2F%3F": connection.write(Self.answer("200 OK", Self.sandbox))
                default: connection.write("HTTP/1.1 204 No Content\r\n\r\n")
                }
            }
        }
        let client = try Client(host: server.host)
        #expect(try client.createSandbox(CreateSandboxRequest(command: ["true"])).id == "sb-1")
        #expect(try client.sandboxes().map(\.name) == ["a"])
        #expect(try client.sandbox("a /?").counters.denied == 2)
        try client.removeSandbox("a")
        try client.removeSandbox("..", force: true)
        try client.kill("a", KillRequest(signal: "TERM"))
        try client.checkHealth()
        #expect(
            seen.lines == [
                "connection", #"POST /v1/sandboxes {"command":["true"]}"#, "GET /v1/sandboxes",
                "GET /v1/sandboxes/a%20%2F%3F",
                "DELETE /v1/sandboxes/a", "DELETE /v1/sandboxes/%2E%2E?force=true",
                #"POST /v1/sandboxes/a/kill {"signal":"TERM"}"#,
                "GET /healthz",
            ]
        )
    }

    @Test func aConnectionThatTheServerClosedIsReplaced() throws {
        let server = try FakeServer(answer: Self.answer("200 OK", "[]"))
        let client = try Client(host: server.host)
        for _ in 0..<3 {
            #expect(try client.sandboxes() == [])
            // The fake server closes after one answer; give the end time to arrive.
            usleep(20_000)
        }
    }

    @Test func aRefusalCarriesTheErrorBody() throws {
        let body = #"{"code":"not_found","message":"no sandbox \"x\"","detail":["line \u001b[2J"]}"#
        let server = try FakeServer { connection in
            while connection.readRequest() != nil { connection.write(Self.answer("404 Not Found", body)) }
        }
        let client = try Client(host: server.host)
        for _ in 0..<2 {
            let error = #expect(throws: ClientError.self) { try client.sandbox("x") }
            #expect(
                error
                    == .refused(
                        status: 404,
                        ErrorBody(code: "not_found", message: "no sandbox \"x\"", detail: ["line \u{1b}[2J"])))
            #expect(error?.description == "no sandbox \"x\"\nline \\x1b[2J")
        }
    }

    @Test func aRefusalWithoutErrorBodyNamesItsStatus() throws {
        let server = try FakeServer(answer: Self.answer("502 Bad Gateway", "<html>"))
        let error = #expect(throws: ClientError.self) { try Client(host: server.host).pool() }
        #expect(error?.description == "corrald answered HTTP 502")
    }

    @Test(arguments: [
        ("garbage\r\n\r\n", ClientError.badResponse("no HTTP status line")),
        ("", .closed(during: "a request")),
        ("HTTP/1.1 200 OK\r\nContent-", .closed(during: "an answer")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[", .closed(during: "an answer")),
    ])
    func brokenAnswersAreErrors(answer: String, expected: ClientError) throws {
        let server = try FakeServer(answer: answer)
        #expect(throws: expected) { try Client(host: server.host).sandboxes() }
    }

    @Test func anAnswerOfAnotherShapeIsAnError() throws {
        let server = try FakeServer(answer: Self.answer("200 OK", #"{"id":1}"#))
        let error = #expect(throws: ClientError.self) { try Client(host: server.host).sandbox("a") }
        guard case .badResponse = error else {
            Issue.record("expected badResponse, got \(String(describing: error))")
            return
        }
    }

    @Test func aDaemonThatDoesNotRunIsNamed() throws {
        let client = try Client(host: "unix:///nonexistent/corral.sock")
        let error = #expect(throws: ClientError.self) { try client.version() }
        #expect(
            error?.description
                == "cannot reach corrald at /nonexistent/corral.sock: No such file or directory; is it running?")
    }

    @Test(arguments: [
        "", "/run/corral.sock", "tcp://1.2.3.4:80", "unix://", "unix://relative", "http://x",
    ])
    func otherHostsAreRefused(host: String) {
        #expect(throws: ClientError.self) { try Client(host: host) }
    }

    @Test func aPathThatNoSocketCanHaveIsRefused() throws {
        let client = try Client(host: "unix:///" + String(repeating: "x", count: 107))
        let error = #expect(throws: ClientError.self) { try client.version() }
        guard case .badHost = error else {
            Issue.record("expected badHost, got \(String(describing: error))")
            return
        }
    }

    // MARK: Events

    @Test func eventsComeAsWholeLinesHoweverTheyAreCut() throws {
        let events = (1...5).map {
            Event(
                time: Int64($0), seq: UInt64($0), sandbox: SandboxReference(id: "sb-1", name: "é"),
                body: .sandbox(.created))
        }
        let seen = Log()
        let server = try FakeServer { connection in
            seen.add(connection.readHead()?.split(separator: " ").prefix(2).joined(separator: " ") ?? "")
            connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for byte in events.flatMap(\.jsonLine) { connection.writeChunk([byte]) }
            connection.write("0\r\n\r\n")
        }
        let filter = try EventFilter(query: [
            ("sandbox", "a"), ("type", "egress"), ("dst", "10.0.0.0/8"), ("dst", "*.example"),
        ])
        let stream = try Client(host: server.host).events(matching: filter)
        var bytes: [UInt8] = []
        while let piece = try stream.next() {
            guard case .lines(let lines) = piece else { continue }
            #expect(lines.last == UInt8(ascii: "\n"))
            bytes += lines
        }
        #expect(bytes == events.flatMap(\.jsonLine))
        #expect(seen.lines == ["GET /v1/events?sandbox=a&type=egress&dst=10.0.0.0%2F8&dst=%2A.example"])
    }

    @Test func thePastIsAskedFor() throws {
        let seen = Log()
        let server = try FakeServer { connection in
            seen.add(connection.readHead()?.split(separator: " ").prefix(2).joined(separator: " ") ?? "")
            connection.write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        }
        let client = try Client(host: server.host)
        let span = Client.EventSpan(since: 1_795_497_121_000_000_000, last: 5, follow: false)
        #expect(try client.events(matching: try EventFilter(query: [("type", "audit")]), span).next() == nil)
        #expect(try client.events().next() == nil)
        #expect(
            seen.lines == [
                "GET /v1/events?type=audit&since=2026-11-24T05%3A12%3A01.000000000Z&last=5&follow=false",
                "GET /v1/events",
            ])
    }

    /// However the connection cuts them.
    @Test func framesComeWhole() throws {
        let source = TraceSource(
            slot: 3, epoch: 9,
            context: DecisionContext(
                sandbox: SandboxReference(id: "sb-1", name: "é"), bootTime: 5, uidBase: 1000, uidCount: 10))
        let frames: [(EventFrame.Kind, [UInt8])] = [
            (.lines, Array("{}\n".utf8)), (.source, source.json), (.records, [1, 2, 3]), (.lines, []),
        ]
        let asked = Log()
        let server = try FakeServer { connection in
            asked.add(connection.readHead() ?? "")
            connection.write(
                "HTTP/1.1 200 OK\r\nContent-Type: \(EventFrame.contentType)\r\nTransfer-Encoding: chunked\r\n\r\n")
            for byte in frames.flatMap({ EventFrame.head($0.0, length: $0.1.count) + $0.1 }) {
                connection.writeChunk([byte])
            }
            connection.write("0\r\n\r\n")
        }
        let stream = try Client(host: server.host).events()
        var pieces: [EventPiece] = []
        while let piece = try stream.next() { pieces.append(piece) }
        #expect(pieces == [.lines(Array("{}\n".utf8)), .source(source), .records([1, 2, 3]), .lines([])])
        #expect(asked.lines.first?.contains("Accept: \(EventFrame.contentType)") == true)
    }

    @Test(arguments: [
        EventFrame.head(.lines, length: EventFrame.longestPayload + 1), [0, 0, 0, 0, 9, 0, 0, 0],
        EventFrame.head(.source, length: 2) + Array("{}".utf8), EventFrame.head(.source, length: 1) + [0],
    ])
    func whatIsNoFrameIsAnError(bytes: [UInt8]) throws {
        let server = try FakeServer { connection in
            _ = connection.readHead()
            connection.write("HTTP/1.1 200 OK\r\nContent-Type: \(EventFrame.contentType)\r\n\r\n")
            connection.write(bytes)
        }
        #expect(throws: ClientError.self) { try Client(host: server.host).events().next() }
    }

    @Test func aFrameWithoutEndIsAnError() throws {
        let server = try FakeServer { connection in
            _ = connection.readHead()
            connection.write("HTTP/1.1 200 OK\r\nContent-Type: \(EventFrame.contentType)\r\n\r\n")
            connection.write(EventFrame.head(.lines, length: 5) + [0x7b])
        }
        #expect(throws: ClientError.closed(during: "an event")) { try Client(host: server.host).events().next() }
    }

    /// Also while nothing comes.
    @Test func waitingEndsOnceNobodyReadsTheOutput() throws {
        let server = try FakeServer { connection in
            _ = connection.readHead()
            connection.write("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            connection.writeChunk(Array("{}\n".utf8))
            usleep(3_000_000)
        }
        var ends: [Int32] = [0, 0]
        #expect(pipe(&ends) == 0)
        defer { close(ends[1]) }
        let stream = try Client(host: server.host).events()
        stream.output = ends[1]
        #expect(try stream.next() == .lines(Array("{}\n".utf8)))
        close(ends[0])
        #expect(throws: ClientError.outputClosed) { try stream.next() }
    }

    @Test func anEventWithoutEndIsAnError() throws {
        let broken = try FakeServer(answer: "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{\"a")
        #expect(throws: ClientError.closed(during: "an event")) { try Client(host: broken.host).events().next() }
        let endless = try FakeServer { connection in
            _ = connection.readHead()
            connection.write("HTTP/1.1 200 OK\r\n\r\n")
            connection.write([UInt8](repeating: 0x61, count: EventPieces.longestLine + 2))
        }
        #expect(throws: ClientError.badResponse("an event of more than 1048576 bytes")) {
            try Client(host: endless.host).events().next()
        }
    }
}

/// Lines noted by other threads.
final class Log: Sendable {
    private let state = Mutex<[String]>([])

    var lines: [String] { state.withLock { $0 } }

    func add(_ line: String) {
        state.withLock { $0.append(line) }
    }
}

/// Bytes collected by other threads.
final class Bytes: Sendable {
    private let state = Mutex<[UInt8]>([])

    var all: [UInt8] { state.withLock { $0 } }

    func add(_ bytes: ArraySlice<UInt8>) {
        state.withLock { $0 += bytes }
    }
}
