import CorralAPI
import CorralEvents
import CorralPolicy
import FoundationEssentials
import Testing

@testable import CorralServer

@Suite struct TraceRoutesTests {
    @Test func aTraceStreamsEventsAndEndsWithTheCounts() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let client = try server.client()
            await client.send(
                "GET /v1/sandboxes/sb-1/trace?syscall=openat&syscall=%40signal HTTP/1.1\r\nHost: x\r\n\r\n")
            let head = await client.readHead()
            #expect(head.status == 200)
            #expect(head.fields["content-type"] == "application/x-ndjson")
            var body: [UInt8] = []
            while let chunk = await client.readChunk(), !chunk.isEmpty { body += chunk }
            let lines = String(decoding: body, as: UTF8.self).split(separator: "\n")
            #expect(lines.count == 2)
            let event = try Event(json: Array(try #require(lines.first).utf8))
            #expect(event.syscall?.name == "getppid")
            let counts = try JSONDecoder().decode(SyscallCounts.self, from: Data(try #require(lines.last).utf8))
            #expect(counts.syscalls.map(\.calls) == [3])
            let selection = try #require(await server.engine.traced.first?.selection)
            #expect(["openat", "rt_sigaction"].allSatisfy { selection.includes($0, .amd64) })
            #expect(!selection.includes("read", .amd64))
        }
    }

    @Test(arguments: [
        ("", TraceSelection.all), ("?syscall=all", .all), ("?syscall=counts", .counts),
        ("?syscall=read", .calls(["read"])),
    ])
    func theQuerySaysWhatIsTold(query: String, expected: TraceSelection) async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let answer = try await server.client().request("GET", "/v1/sandboxes/sb-1/trace" + query)
            #expect(answer.status == 200)
            #expect(await server.engine.traced.map(\.selection) == [expected])
        }
    }

    @Test(arguments: [
        ("?syscall=opneat", "did you mean openat"), ("?syscall=", "is no system call"),
        ("?call=read", "expected syscall"),
        ("?syscall=%1b%5b2J", "is no system call"),
    ])
    func whatMeansNothingIsRefused(query: String, message: String) async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let answer = try await server.client().request("GET", "/v1/sandboxes/sb-1/trace" + query)
            #expect(answer.status == 400)
            #expect(answer.body.contains(message), "\(answer.body)")
            #expect(await server.engine.traced.isEmpty)
        }
    }

    @Test func countsAreThoseOfATracedSandbox() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let client = try server.client()
            for (target, status) in [("sb-1/syscalls", 409), ("sb-2/syscalls", 404), ("sb-2/trace", 404)] {
                let answer = await client.request("GET", "/v1/sandboxes/" + target)
                #expect(answer.status == status, "\(target)")
            }
            _ = try await server.client().request("GET", "/v1/sandboxes/sb-1/trace")
            let answer = try await server.client().request("GET", "/v1/sandboxes/sb-1/syscalls")
            #expect(answer.status == 200)
            #expect(
                answer.body.contains(
                    "{\"abi\":\"x86_64\",\"calls\":3,\"durationNs\":270,\"errors\":1,\"name\":\"getppid\",\"refused\":1}"
                ))
        }
    }
}
