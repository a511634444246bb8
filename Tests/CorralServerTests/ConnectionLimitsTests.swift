import CorralAPI
import Glibc
import Testing

@testable import CorralServer

/// What a client may hold of the daemon, with real sockets; after each, another client is served. A busy machine may keep a test for
/// some seconds from going on, so that times which are not to be over are longer than those.
@Suite struct ConnectionLimitsTests {
    private static func isServed(_ server: TestServer) async throws -> Bool {
        try await eventually { try await server.client().request("GET", "/v1/pool").status == 200 }
    }

    @Test func connectionsOfOneClientAreLimited() async throws {
        try await TestServer.run(limits: ConnectionLimits(connectionsPerClient: 3), listens: true) { server in
            var open: [RawClient] = []
            for _ in 0..<3 {
                let client = try server.client()
                #expect(await client.request("GET", "/v1/pool").status == 200)
                open.append(client)
            }
            // Before a byte of a request.
            let fourth = try server.client()
            let answer = await fourth.response()
            #expect(answer.status == 429)
            #expect(answer.body.contains("\"code\":\"too_many_requests\""))
            #expect(await fourth.isAtEnd())
            // Those that were there go on, and another client is another.
            #expect(await open[0].request("GET", "/v1/pool").status == 200)
            #expect(try await server.tcpClient().request("GET", "/healthz").status == 200)
            open[0].close()
            #expect(try await Self.isServed(server))
        }
    }

    @Test func aClientThatSendsAtOnceIsToldToo() async throws {
        try await TestServer.run(limits: ConnectionLimits(connectionsPerClient: 1)) { server in
            let first = try server.client()
            #expect(await first.request("GET", "/v1/pool").status == 200)
            for _ in 0..<20 {
                let client = try server.client()
                let body = String(repeating: "x", count: 100_000)
                await client.send("POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + body)
                #expect(await client.response().status == 429)
            }
            #expect(await first.request("GET", "/v1/pool").status == 200)
        }
    }

    @Test func connectionsInAllAreLimited() async throws {
        try await TestServer.run(limits: ConnectionLimits(connections: 2)) { server in
            let open = [try server.client(), try server.client()]
            for client in open { #expect(await client.request("GET", "/v1/pool").status == 200) }
            let answer = try await server.client().response()
            #expect(answer.status == 503)
            #expect(answer.body.contains("\"code\":\"exhausted\""))
            open[1].close()
            #expect(try await Self.isServed(server))
            #expect(await open[0].request("GET", "/v1/pool").status == 200)
        }
    }

    @Test func aFloodOfConnectionsLeavesRoomAfterwards() async throws {
        try await TestServer.run(limits: ConnectionLimits(connections: 8, connectionsPerClient: 8)) { server in
            var flood: [RawClient] = []
            for _ in 0..<200 { flood.append(try server.client()) }
            for client in flood { client.close() }
            #expect(try await Self.isServed(server))
        }
    }

    @Test(arguments: [
        "GET /v1/pool?" + String(repeating: "x", count: 5000) + " HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/pool HTTP/1.1\r\nHost: x\r\nX-Long: " + String(repeating: "x", count: 5000) + "\r\n\r\n",
        "GET /v1/pool HTTP/1.1\r\nHost: x\r\n"
            + (0..<90).map { "X-\($0): \(String(repeating: "y", count: 60))\r\n" }.joined() + "\r\n",
        "GET /v1/pool HTTP/1.1\r\nHost: x\r\n" + (0..<101).map { "X\($0): y\r\n" }.joined() + "\r\n",
        // Never ends.
        "GET /" + String(repeating: "x", count: 5000),
    ])
    func aHeadThatIsTooLargeIsRefused(head: String) async throws {
        try await TestServer.run(limits: ConnectionLimits(headerSize: 4096)) { server in
            let client = try server.client()
            await client.send(head)
            let answer = await client.response()
            #expect(answer.status == 431)
            #expect(answer.body.contains("\"code\":\"invalid_request\""))
            #expect(await client.isAtEnd())
            #expect(try await Self.isServed(server))
        }
    }

    @Test func aHeadThatFitsIsServed() async throws {
        try await TestServer.run(limits: ConnectionLimits(headerSize: 4096)) { server in
            let client = try server.client()
            let field = String(repeating: "x", count: 3800)
            #expect(await client.request("GET", "/v1/pool", fields: ["X-Long": field]).status == 200)
            #expect(await client.request("GET", "/v1/pool", fields: ["X-Long": field]).status == 200)
        }
    }

    @Test func aBodyThatIsTooLargeIsRefused() async throws {
        try await TestServer.run(limits: ConnectionLimits(bodySize: 1000)) { server in
            // By what it states: nothing of it is read.
            let stated = try server.client()
            await stated.send("POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n")
            let answer = await stated.response()
            #expect(answer.status == 413)
            #expect(answer.fields["connection"] == "close")
            #expect(await stated.isAtEnd())
            for length in ["99999999999999999999", "-1", "1x"] {
                let client = try server.client()
                await client.send("POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: \(length)\r\n\r\n")
                #expect([400, 413].contains(await client.response().status), "\(length)")
            }
            // By what comes.
            let chunked = try server.client()
            await chunked.send("POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            await chunked.sendChunk(Array(repeating: 0x20, count: 600))
            await chunked.sendChunk(Array(repeating: 0x20, count: 600))
            #expect(await chunked.response().status == 413)
            // The twin.
            let body = "{\"command\":[\"id\"]}"
            let padded = body + String(repeating: " ", count: 1000 - body.utf8.count)
            #expect(try await server.client().request("POST", "/v1/sandboxes", body: padded).status == 201)
        }
    }

    @Test func aHeadThatDoesNotComeInTimeIsRefused() async throws {
        try await TestServer.run(limits: ConnectionLimits(headerTimeout: .milliseconds(300))) { server in
            let slow = try server.client()
            await slow.send("GET /v1/pool HTTP/1.1\r\n")
            // Bytes now and then do not help.
            for number in 0..<20 {
                await slow.send("X-\(number): y\r\n")
                try await Task.sleep(for: .milliseconds(30))
            }
            #expect(await slow.response().status == 408)
            let silent = try server.client()
            #expect(await silent.isAtEnd())
            #expect(try await Self.isServed(server))
        }
    }

    @Test func aSecondHeadHasItsTimeToo() async throws {
        let limits = ConnectionLimits(headerTimeout: .seconds(8), idleTimeout: .seconds(60))
        try await TestServer.run(limits: limits) { server in
            let client = try server.client()
            #expect(await client.request("GET", "/v1/pool").status == 200)
            try await Task.sleep(for: .seconds(9))
            #expect(await client.request("GET", "/v1/pool").status == 200)
            await client.send("GET /v1/pool HTT")
            #expect(await client.response().status == 408)
        }
    }

    @Test func anIdleConnectionIsClosed() async throws {
        try await TestServer.run(limits: ConnectionLimits(idleTimeout: .seconds(8))) { server in
            let client = try server.client()
            for _ in 0..<4 {
                #expect(await client.request("GET", "/v1/pool").status == 200)
                try await Task.sleep(for: .milliseconds(2500))
            }
            #expect(await client.isAtEnd())
            #expect(try await Self.isServed(server))
        }
    }

    @Test func aBodyThatStopsIsRefused() async throws {
        try await TestServer.run(limits: ConnectionLimits(idleTimeout: .seconds(8))) { server in
            let client = try server.client()
            await client.send("POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
            #expect(await client.response().status == 408)
            #expect(await client.isAtEnd())
            // One that goes on is waited for.
            let slow = try server.client()
            let body = Array("{\"command\":[\"id\"]}".utf8)
            await slow.send("POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nContent-Length: \(body.count)\r\n\r\n")
            for piece in [body[..<6], body[6..<12], body[12...]] {
                try await Task.sleep(for: .seconds(3))
                await slow.send(Array(piece))
            }
            #expect(await slow.response().status == 201)
        }
    }

    @Test func anAttachedClientMaySayNothing() async throws {
        let limits = ConnectionLimits(headerTimeout: .seconds(8), idleTimeout: .seconds(8))
        try await TestServer.run(limits: limits) { server in
            let command = FakeCommand(echo: true)
            await server.engine.add("sb-1", streams: command.streams)
            let client = try server.client()
            await client.send(
                "POST /v1/sandboxes/sb-1/attach HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            #expect(await client.readHead().status == 200)
            let events = try server.client()
            await events.send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await events.readHead().status == 200)
            try await Task.sleep(for: .seconds(9))
            await client.sendChunk([0, 0, 0, 0, 0, 0, 0, 2] + Array("hi".utf8))
            #expect(await client.readChunk() == [1, 0, 0, 0, 0, 0, 0, 2] + Array("hi".utf8))
            #expect(await server.engine.subscriptionsEnded == 0)
        }
    }

    /// A silent stream over TCP is told of its reader's end by nothing but the end of what that sends.
    @Test func aRemoteClientThatLeavesGivesItsStreamBack() async throws {
        try await TestServer.run(limits: ConnectionLimits(streamsPerClient: 1), listens: true) { server in
            let fields = [
                "Authorization": "Bearer \(try await server.keys.create(.init(name: "t", scope: .read)).token)"
            ]
            let client = try server.tcpClient()
            await client.send(
                "GET /v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: \(fields["Authorization"]!)\r\n\r\n")
            #expect(await client.readHead().status == 200)
            let other = try server.tcpClient()
            #expect(await other.request("GET", "/v1/events?follow=false&last=1", fields: fields).status == 429)
            client.close()
            var isFree = false
            for _ in 0..<100 where !isFree {
                try await Task.sleep(for: .milliseconds(100))
                isFree = await other.request("GET", "/v1/events?follow=false&last=1", fields: fields).status == 200
            }
            #expect(isFree)
            // One that has only said its last word has its answer.
            let last = try server.tcpClient()
            await last.send(
                "GET /v1/pool HTTP/1.1\r\nHost: x\r\nAuthorization: \(fields["Authorization"]!)\r\n\r\n")
            last.closeOutput()
            #expect(await last.response().status == 200)
        }
    }

    @Test func streamsOfOneClientAreLimited() async throws {
        try await TestServer.run(limits: ConnectionLimits(streamsPerClient: 2)) { server in
            var open: [RawClient] = []
            for _ in 0..<2 {
                let client = try server.client()
                await client.send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
                #expect(await client.readHead().status == 200)
                open.append(client)
            }
            let third = try server.client()
            let answer = await third.request("GET", "/v1/events")
            #expect(answer.status == 429)
            #expect(answer.body.contains("\"code\":\"too_many_requests\""))
            // Other requests are served, on this connection, too.
            #expect(await third.request("GET", "/v1/pool").status == 200)
            open[0].close()
            #expect(
                try await eventually {
                    let client = try server.client()
                    await client.send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
                    return await client.readHead().status == 200
                })
            // A stream that is refused for itself holds nothing.
            for _ in 0..<5 { #expect(await third.request("GET", "/v1/events?last=x").status != 200) }
        }
    }
}
