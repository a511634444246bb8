import CorralEvents
import Testing

@testable import CorralServer

@Suite struct EventStreamTests {
    private static func event(_ seq: UInt64) -> Event {
        Event(time: 0, seq: seq, sandbox: SandboxReference(id: "sb-1", name: "a1"), body: .sandbox(.claimed))
    }

    @Test func eventsArriveOneLineEachAtOnce() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send(
                "GET /v1/events?sandbox=a1&type=sandbox&type=egress&dst=203.0.113.0%2F24 HTTP/1.1\r\nHost: x\r\n\r\n")
            let head = await client.readHead()
            #expect(head.status == 200)
            #expect(head.fields["content-type"] == "application/x-ndjson")
            let filter = try #require(await server.engine.filters.first)
            #expect(filter.sandboxes == ["a1"])
            #expect(filter.types == [.sandbox, .egress])
            #expect(filter.destinations.map(\.description) == ["203.0.113.0/24"])
            for seq in UInt64(1)...3 {
                await server.engine.emit(Self.event(seq))
                let line = try #require(await client.readChunk())
                #expect(String(decoding: line, as: UTF8.self).contains("\"seq\":\(seq)"))
                #expect(line.last == 10)
                #expect(line.count(where: { $0 == 10 }) == 1)
            }
        }
    }

    @Test func nothingIsLostOrReorderedInABurst() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 200)
            for seq in UInt64(1)...20_000 { await server.engine.emit(Self.event(seq)) }
            var bytes: [UInt8] = []
            while bytes.count(where: { $0 == 10 }) < 20_000, let chunk = await client.readChunk(), !chunk.isEmpty {
                bytes += chunk
            }
            let lines = bytes.split(separator: 10)
            #expect(lines.count == 20_000)
            for (index, line) in lines.enumerated() {
                guard String(decoding: line, as: UTF8.self).contains("\"seq\":\(index + 1)") else {
                    Issue.record("line \(index + 1) is \(String(decoding: line, as: UTF8.self))")
                    break
                }
            }
        }
    }

    @Test(arguments: [
        "type=nothing", "verdict=maybe", "reason=because", "dst=1.2.3.4%2F99", "sandbox=%00", "colour=red", "type=%zz",
    ])
    func badFiltersAreRefused(query: String) async throws {
        try await TestServer.run { server in
            let response = try await server.client().request("GET", "/v1/events?\(query)")
            #expect(response.status == 400)
            #expect(response.body.contains("\"code\":\"invalid_request\""))
            #expect(await server.engine.subscriptionsMade == 0)
        }
    }

    @Test func aReaderThatLeavesEndsItsSubscriptionWithoutAnEvent() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 200)
            #expect(await server.engine.subscriptionsEnded == 0)
            client.close()
            #expect(await eventually { await server.engine.subscriptionsEnded == 1 })
        }
    }

    @Test func aReaderThatNeverReadsEndsItsSubscriptionWhenItLeaves() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 200)
            for seq in UInt64(1)...60_000 { await server.engine.emit(Self.event(seq)) }
            client.close()
            #expect(await eventually { await server.engine.subscriptionsEnded == 1 })
        }
    }

    @Test func aStoppingServerEndsTheStreamProperly() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 200)
            await server.stop()
            #expect(await client.readChunk() == [])
            #expect(await client.isAtEnd())
        }
    }

    @Test func aReaderThatNeverReadsDoesNotKeepTheServerFromStopping() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 200)
            for seq in UInt64(1)...60_000 { await server.engine.emit(Self.event(seq)) }
            await server.stop()
            #expect(await eventually { await server.engine.subscriptionsEnded == 1 })
        }
    }

    @Test func aReaderThatClosedItsSideStillGetsEvents() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send("GET /v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
            client.closeOutput()
            #expect(await client.readHead().status == 200)
            try await Task.sleep(for: .milliseconds(50))
            await server.engine.emit(Self.event(1))
            #expect(await client.readChunk() != nil)
            #expect(await server.engine.subscriptionsEnded == 0)
            client.close()
            #expect(await eventually { await server.engine.subscriptionsEnded == 1 })
        }
    }
}
