import CorralAPI
import CorralEngine
import CorralEvents
import Testing

@testable import CorralServer

/// What happens to a sandbox between its start and its end.
@Suite struct LifeRoutesTests {
    @Test func execStartsACommandAndIsWrittenDown() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let response = try await server.client().request(
                "POST", "/v1/sandboxes/sb-1/exec",
                body: """
                    {"command":["ls","-l"],"env":{"A":"b"},"workingDirectory":"/tmp","user":{"uid":7,"gid":8},"stdin":true,\
                    "terminal":{"rows":5,"columns":6},"detach":true}
                    """)
            #expect(response.status == 201)
            #expect(response.body.contains("\"id\":\"ex-1\"") && response.body.contains("\"terminal\":true"))
            let spec = try #require(await server.engine.executed.first?.spec)
            #expect(spec.arguments == ["ls", "-l"] && spec.environment == ["A": "b"] && spec.stdin && spec.detached)
            #expect(spec.workingDirectory == "/tmp")
            #expect(spec.user == CorralEngine.CommandUser(uid: 7, gid: 8))
            #expect(spec.terminal == CorralEngine.TerminalSize(rows: 5, columns: 6))
            let record = try #require(server.engine.recorded.first)
            #expect(record.record.action == .exec && record.record.command == ["ls", "-l"])
            #expect(record.sandbox?.id == "sb-1")
        }
    }

    @Test func aUserWithoutAGroupHasTheOneOfItsNumber() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let body = "{\"command\":[\"id\"],\"user\":{\"uid\":7}}"
            let answer = try await server.client().request("POST", "/v1/sandboxes/sb-1/exec", body: body)
            #expect(answer.status == 201)
            #expect(await server.engine.executed.first?.spec.user == CorralEngine.CommandUser(uid: 7, gid: 7))
        }
    }

    @Test(arguments: [
        "{}", "{\"command\":[]}", "{\"command\":[\"a\"],\"user\":{\"uid\":65535}}",
        "{\"command\":[\"a\"],\"name\":\"x\"}",
        "{\"command\":[\"a\"],\"user\":{\"uid\":1,\"name\":\"x\"}}", "{\"command\":[\"a\"],\"workingDirectory\":\"x\"}",
    ])
    func malformedExecsAreRefused(body: String) async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let answer = try await server.client().request("POST", "/v1/sandboxes/sb-1/exec", body: body)
            #expect(answer.status == 400)
            #expect(await server.engine.executed.isEmpty)
        }
    }

    @Test(arguments: [
        (EngineError.Kind.conflict, 409), (.exhausted, 503), (.commandNotFound, 422), (.notFound, 404),
    ])
    func refusalsOfExecHaveTheirStatus(kind: EngineError.Kind, status: Int) async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            await server.engine.fail(with: EngineError(kind, "no"))
            let body = "{\"command\":[\"a\"]}"
            let answer = try await server.client().request("POST", "/v1/sandboxes/sb-1/exec", body: body)
            #expect(answer.status == status)
        }
    }

    @Test func commandsAreListedWithTheirEnd() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let answer = try await server.client().request("GET", "/v1/sandboxes/sb-1/exec")
            #expect(answer.status == 200)
            #expect(answer.body.contains("\"id\":\"main\"") && answer.body.contains("\"exitCode\":3"))
            #expect(answer.body.contains("\"state\":\"exited\""))
        }
    }

    @Test func pauseAndResumeChangeTheState() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let client = try server.client()
            let paused = await client.request("POST", "/v1/sandboxes/sb-1/pause")
            #expect(paused.status == 200 && paused.body.contains("\"state\":\"paused\""))
            let resumed = await client.request("POST", "/v1/sandboxes/sb-1/resume")
            #expect(resumed.status == 200 && resumed.body.contains("\"state\":\"running\""))
            #expect(server.engine.recorded.map(\.record.action) == [.pause, .resume])
            #expect(await client.request("POST", "/v1/sandboxes/sb-2/pause").status == 404)
        }
    }

    @Test func waitAnswersAtTheEnd() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let client = try server.client()
            async let answer = client.request("GET", "/v1/sandboxes/sb-1/wait")
            try await Task.sleep(for: .milliseconds(50))
            await server.engine.end("sb-1", CommandResult(exitCode: 124, cause: .timeout))
            let (status, body) = await (answer.status, answer.body)
            #expect(status == 200 && body == "{\"cause\":\"timeout\",\"exitCode\":124}\n")
        }
    }

    @Test func logsAreFramesOfWhatTheQueryAsksFor() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            await server.engine.log([.skipped(258), .stdout([1, 2]), .stderr([3])])
            let client = try server.client()
            await client.send(
                "GET /v1/sandboxes/sb-1/logs?tail=5&follow=true&since=1970-01-01T00:00:01Z HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 200)
            var bytes: [UInt8] = []
            while let chunk = await client.readChunk(), !chunk.isEmpty { bytes += chunk }
            let expected: [UInt8] =
                [9, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 1, 2] + [1, 0, 0, 0, 0, 0, 0, 2, 1, 2]
                + [2, 0, 0, 0, 0, 0, 0, 1, 3]
            #expect(bytes == expected)
            #expect(
                await server.engine.logRequests == [LogRequest(since: 1_000_000_000, lines: 5, follows: true)])
        }
    }

    @Test(arguments: ["tail=-1", "tail=x", "follow=1", "since=today", "last=3"])
    func malformedLogQueriesAreRefused(query: String) async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let answer = try await server.client().request("GET", "/v1/sandboxes/sb-1/logs?\(query)")
            #expect(answer.status == 400)
        }
    }
}
