import CorralEngine
import CorralEvents
import FoundationEssentials
import Glibc
import Testing

@testable import CorralServer

@Suite struct AuditTests {
    @Test func whoAskedForWhatIsRecorded() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let client = try server.client()
            let policy = "{\"file\":\"p.yaml\",\"yaml\":\"apiVersion: corral/v1\\nname: p\\n\"}"
            let hash = SHA256(of: "apiVersion: corral/v1\nname: p\n".utf8)
            _ = await client.request(
                "POST", "/v1/sandboxes", body: "{\"command\":[\"id\",\"-u\"],\"policy\":\(policy)}")
            _ = await client.request("POST", "/v1/sandboxes/sb-1/kill", body: "{\"signal\":\"TERM\"}")
            _ = await client.request("PUT", "/v1/sandboxes/sb-1/policy", body: policy)
            _ = await client.request("DELETE", "/v1/sandboxes/sb-1?force=true")
            _ = await client.request("POST", "/v1/enforcements", body: "{\"cgroup\":\"/x\",\"policy\":\(policy)}")
            _ = await client.request("DELETE", "/v1/enforcements/cg-1")
            // Reading is not recorded.
            _ = await client.request("GET", "/v1/sandboxes")
            let recorded = server.engine.recorded
            #expect(recorded.map(\.record.action) == [.create, .kill, .applyPolicy, .remove, .enforce, .release])
            for entry in recorded {
                #expect(entry.record.outcome == .done)
                #expect(entry.record.by == Requester(uid: getuid(), gid: getgid(), pid: getpid()))
                #expect(entry.record.target == nil)
            }
            #expect(recorded.map(\.sandbox?.id) == ["sb-000001", "sb-1", "sb-1", "sb-1", "cg-1", "cg-1"])
            #expect(recorded[0].record.command == ["id", "-u"])
            #expect(recorded[0].record.policyHash == hash)
            #expect(recorded[1].record.signal == SIGTERM)
            #expect(recorded[2].record.policy?.generation == 2)
            #expect(recorded[2].record.policyHash == hash)
            #expect(recorded[4].record.policyHash == hash)
        }
    }

    @Test func whatWasRefusedIsRecordedToo() async throws {
        try await TestServer.run { server in
            await server.engine.fail(with: EngineError(.exhausted, "no slot is left"))
            let client = try server.client()
            #expect(await client.request("POST", "/v1/sandboxes", body: "{\"command\":[\"id\"]}").status == 503)
            #expect(await client.request("POST", "/v1/sandboxes", body: "{").status == 400)
            #expect(await client.request("PUT", "/v1/sandboxes/a%1Bb/policy", body: "{}").status == 400)
            #expect(await client.request("DELETE", "/v1/enforcements/cg-9").status == 404)
            let recorded = server.engine.recorded.map(\.record)
            #expect(recorded.map(\.action) == [.create, .create, .applyPolicy, .release])
            #expect(recorded[0].outcome == .refused(code: "exhausted", message: "no slot is left"))
            #expect(recorded[2].target == "a\u{1b}b")
            #expect(recorded[3].target == "cg-9")
            for record in recorded { #expect(record.outcome != .done) }
        }
    }

    @Test func theHeadOfTheJournalIsShown() async throws {
        try await TestServer.run { server in
            var statistics = EngineStatistics(
                pool: PoolState(target: 0, warm: 0, filling: 0, inUse: 0, coldStarts: 0, warmStarts: 0))
            statistics.journal.headNumber = 7
            statistics.journal.headHash = SHA256(of: []).description
            await server.engine.count(statistics)
            let body = try await server.client().request("GET", "/v1/audit").body
            #expect(body.contains("\"record\":7"))
            #expect(body.contains("\"hash\":\"e3b0c44298fc1c14"))
        }
    }

    private static func line(_ seq: UInt64) -> [UInt8] {
        Event(time: 0, seq: seq, sandbox: SandboxReference(id: "sb-1", name: "a1"), body: .sandbox(.claimed)).jsonLine
    }

    @Test func thePastComesBeforeThePresent() async throws {
        try await TestServer.run { server in
            // A piece larger than what may wait for the reader.
            let past = (1...4000).map { Self.line(UInt64($0)) }
            await server.engine.remember([Array(past[..<3000].joined()), Array(past[3000...].joined())])
            let client = try server.client()
            let target = "/v1/events?since=2026-11-24T05:12:01Z&last=9&type=sandbox"
            await client.send("GET \(target) HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 200)
            await server.engine.emit(
                Event(time: 0, seq: 4001, sandbox: SandboxReference(id: "sb-1", name: "a1"), body: .sandbox(.claimed)))
            var bytes: [UInt8] = []
            while bytes.count(where: { $0 == 10 }) < 4001, let chunk = await client.readChunk(), !chunk.isEmpty {
                bytes += chunk
            }
            #expect(bytes == Array((past + [Self.line(4001)]).joined()))
            let history = try #require(await server.engine.histories.first)
            #expect(history == HistoryRequest(since: 1_795_497_121_000_000_000, last: 9))
            #expect(await server.engine.filters.first?.types == [.sandbox])
        }
    }

    @Test func withoutFollowingTheStreamEndsWithThePast() async throws {
        try await TestServer.run { server in
            await server.engine.remember([Self.line(1)])
            let client = try server.client()
            await client.send("GET /v1/events?follow=false HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 200)
            #expect(await client.readChunk() == Self.line(1))
            #expect(await client.readChunk() == [])
            #expect(await server.engine.histories == [HistoryRequest()])
            #expect(await eventually { await server.engine.subscriptionsEnded == 1 })
        }
    }

    @Test func withoutAPastNoneIsRead() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send("GET /v1/events?follow=true HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 200)
            #expect(await server.engine.histories.isEmpty)
            #expect(await server.engine.subscriptionsMade == 1)
        }
    }

    @Test(arguments: [
        "since=yesterday", "since=2026-11-24", "last=-1", "last=1000001", "last=x", "last=", "follow=1", "folow=true",
    ])
    func aBadSpanIsRefused(query: String) async throws {
        try await TestServer.run { server in
            let response = try await server.client().request("GET", "/v1/events?\(query)")
            #expect(response.status == 400)
            #expect(response.body.contains("\"code\":\"invalid_request\""))
            #expect(await server.engine.subscriptionsMade == 0)
        }
    }
}
