import CorralEngine
import CorralPolicy
import Testing

@testable import CorralServer

@Suite struct RoutesTests {
    @Test func readingRoutesAnswerJSON() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let client = try server.client()
            let health = await client.request("GET", "/healthz")
            #expect(health.status == 200)
            #expect(health.body == "{\"status\":\"ok\"}\n")
            #expect(health.fields["content-type"] == "application/json")
            let version = await client.request("GET", "/v1/version")
            #expect(version.body.contains("\"version\":\"1.2.3\""))
            #expect(version.body.contains("\"instance\":\"test\""))
            #expect(await client.request("GET", "/v1/pool").body.contains("\"warm\":7"))
            #expect(await client.request("GET", "/v1/doctor").body.contains("\"answer\":\"could_not_tell\""))
            let list = await client.request("GET", "/v1/sandboxes")
            #expect(list.body.hasPrefix("[{"))
            let one = await client.request("GET", "/v1/sandboxes/sb%2D1")
            #expect(one.status == 200)
            #expect(one.body.contains("\"state\":\"running\""))
            #expect(one.body.contains("\"createdAt\":\"1970-01-01T00:00:00"))
            #expect(!one.body.contains("exitCode"))
        }
    }

    @Test func unknownPathsAndMethodsAreNamedInJSON() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            for target in ["/", "/v1", "/v1/nothing", "/v1/sandboxes/a/b", "/v1/sandboxes//kill", "//v1/pool"] {
                let response = await client.request("GET", target)
                #expect(response.status == 404, "\(target)")
                #expect(response.body.contains("\"code\":\"not_found\""), "\(target)")
            }
            let wrong = await client.request("PUT", "/v1/sandboxes")
            #expect(wrong.status == 405)
            #expect(wrong.fields["allow"] == "GET, POST")
            #expect(wrong.body.contains("\"code\":\"invalid_request\""))
            #expect(await client.request("GET", "/v1/sandboxes").status == 200)
        }
    }

    @Test func headAnswersHaveNoBody() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send("HEAD /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            #expect(await client.readHead().status == 405)
            #expect(await client.request("GET", "/healthz").status == 200)
        }
    }

    @Test func createTakesTheRequestOverThePolicy() async throws {
        try await TestServer.run { server in
            let policy = "{\"file\":\"p.yaml\",\"yaml\":\"\(Self.policy)\"}"
            let response = try await server.client().request(
                "POST", "/v1/sandboxes",
                body: """
                    {"command":["echo","hi"],"name":"a1","env":{"A":"b"},"limits":{"memory":"256MiB","timeout":"5m","cpu":0.5},\
                    "stdin":true,"autoRemove":false,"policy":\(policy)}
                    """
            )
            #expect(response.status == 201)
            #expect(response.fields["location"] == "/v1/sandboxes/sb-000001")
            let spec = try #require(await server.engine.created.first)
            #expect(spec.name == "a1")
            #expect(spec.command.arguments == ["echo", "hi"])
            #expect(spec.command.environment == ["A": "b"])
            #expect(spec.command.stdin)
            #expect(!spec.autoRemove)
            #expect(spec.policy != nil)
            #expect(spec.limits == .init(cpu: 0.5, memoryBytes: 256 << 20, pids: 64, timeout: .seconds(300)))
        }
    }

    /// Limits and environment for `createTakesTheRequestOverThePolicy`, with JSON's line breaks.
    private static let policy = [
        "apiVersion: corral/v1", "name: p", "limits: {memory: 1MiB, pids: 64}", "env: {A: z, LANG: C}",
    ]
    .joined(separator: "\\n")

    @Test func aCommandAloneIsEnough() async throws {
        try await TestServer.run { server in
            let response = try await server.client().request("POST", "/v1/sandboxes", body: "{\"command\":[\"true\"]}")
            #expect(response.status == 201)
            let spec = try #require(await server.engine.created.first)
            #expect(spec.autoRemove)
            #expect(spec.policy == nil)
            #expect(!spec.command.stdin)
            #expect(spec.limits == .init())
        }
    }

    @Test func withoutACommandASandboxWaitsForOthers() async throws {
        try await TestServer.run { server in
            let response = try await server.client().request("POST", "/v1/sandboxes", body: "{\"name\":\"x\"}")
            #expect(response.status == 201)
            let spec = try #require(await server.engine.created.first)
            #expect(spec.command.arguments.isEmpty)
        }
    }

    @Test(arguments: [
        ("{\"command\":[\"true\"", "the body is no JSON"),
        ("", "the body is no JSON"),
        ("[]", "the body: expected an object"),
        ("{\"command\":[\"a\"],\"user\":{\"gid\":1}}", "missing field \\\"user.uid\\\""),
        ("{\"command\":[\"a\"],\"user\":{\"uid\":65535}}", "user: expected numbers"),
        ("{\"command\":[\"a\"],\"user\":{\"uid\":-1}}", "user: expected numbers"),
        ("{\"command\":[\"a\"],\"terminal\":{\"rows\":1,\"columns\":70000}}", "terminal: expected"),
        ("{\"command\":\"true\"}", "command: expected an array"),
        ("{\"command\":[\"a\",1]}", "command[1]: expected a string"),
        ("{\"command\":[]}", "command: empty"),
        ("{\"command\":[\"a\\u0000b\"]}", "command[0]: holds a NUL character"),
        ("{\"command\":[\"a\"],\"limits\":{\"pids\":\"x\"}}", "limits.pids: expected a whole number"),
        ("{\"command\":[\"a\"],\"limits\":{\"pids\":0}}", "limits.pids: expected 1 to"),
        ("{\"command\":[\"a\"],\"limits\":{\"memory\":\"lots\"}}", "limits.memory: expected a size"),
        ("{\"command\":[\"a\"],\"limits\":{\"cpu\":-1}}", "limits.cpu: expected"),
        ("{\"command\":[\"a\"],\"limits\":{\"timeout\":\"soon\"}}", "limits.timeout: expected a duration"),
        ("{\"command\":[\"a\"],\"limts\":{}}", "unknown field \\\"limts\\\""),
        ("{\"command\":[\"a\"],\"limits\":{\"swap\":1}}", "unknown field \\\"limits.swap\\\""),
        ("{\"command\":[\"a\"],\"name\":\"../x\"}", "name: expected"),
        (
            "{\"command\":[\"a\"],\"publish\":[{\"sandboxPort\":80,\"port\":1}]}",
            "unknown field \\\"publish[0].port\\\""
        ),
        ("{\"command\":[\"a\"],\"publish\":[{\"sandboxPort\":70000}]}", "publish: sandboxPort: expected"),
        ("{\"command\":[\"a\"],\"publish\":[{\"sandboxPort\":80,\"hostPort\":-1}]}", "publish: hostPort: expected"),
        ("{\"command\":[\"a\"],\"publish\":[{\"sandboxPort\":0}]}", "publish: sandboxPort: expected"),
        ("{\"command\":[\"a\"],\"publish\":[{\"sandboxPort\":1,\"protocol\":\"sctp\"}]}", "publish[0].protocol"),
        (
            "{\"command\":[\"a\"],\"publish\":[{\"sandboxPort\":80,\"hostAddress\":\"x\"}]}",
            "publish: hostAddress: expected"
        ),
        ("{\"command\":[\"a\"],\"workingDirectory\":\"x\"}", "workingDirectory: expected an absolute path"),
        ("{\"command\":[\"a\"],\"env\":{\"A=B\":\"c\"}}", "env: a name"),
    ])
    func malformedRequestsNameTheField(body: String, message: String) async throws {
        try await TestServer.run { server in
            let response = try await server.client().request("POST", "/v1/sandboxes", body: body)
            #expect(response.status == 400)
            #expect(response.body.contains("\"code\":\"invalid_request\""))
            #expect(response.body.contains(message), "\(response.body)")
            #expect(await server.engine.created.isEmpty)
        }
    }

    @Test func aBadPolicyIsRefusedWithEveryProblem() async throws {
        try await TestServer.run { server in
            let response = try await server.client().request(
                "POST", "/v1/sandboxes",
                body:
                    "{\"command\":[\"a\"],\"policy\":{\"file\":\"web.yaml\",\"yaml\":\"apiVersion: corral/v1\\nname: p\\nmode: loud\\nbad: 1\"}}"
            )
            #expect(response.status == 400)
            #expect(response.body.contains("\"code\":\"invalid_policy\""))
            #expect(response.body.contains("\"detail\":[\"web.yaml:"))
        }
    }

    @Test func testSwitchesNeedTheDaemonsConsent() async throws {
        let body = "{\"command\":[\"a\"],\"testSwitches\":{\"noSeccomp\":true}}"
        try await TestServer.run { server in
            let response = try await server.client().request("POST", "/v1/sandboxes", body: body)
            #expect(response.status == 403)
            #expect(response.body.contains("\"code\":\"forbidden\""))
        }
        try await TestServer.run(engine: FakeEngine(allowTestSwitches: true)) { server in
            let response = try await server.client().request("POST", "/v1/sandboxes", body: body)
            #expect(response.status == 201)
            #expect(await server.engine.created.map(\.command.noSeccomp) == [true])
        }
    }

    /// Output that is taken before the client attaches is lost to it.
    @Test(arguments: [
        ("{\"command\":[\"ls\"]}", false), ("{\"imageCommand\":true}", false), ("{}", true),
        ("{\"imageCommand\":true,\"detach\":true}", true),
    ])
    func onlyWhatNobodyWaitsForIsDetached(body: String, detached: Bool) async throws {
        try await TestServer.run { server in
            let response = try await server.client().request("POST", "/v1/sandboxes", body: body)
            #expect(response.status == 201)
            #expect(await server.engine.created.map(\.command.detached) == [detached])
        }
    }

    @Test func cgroupsAreEnforcedListedAndReleased() async throws {
        let policy = "{\"file\":\"p.yaml\",\"yaml\":\"apiVersion: corral/v1\\nname: narrow\"}"
        try await TestServer.run { server in
            let client = try server.client()
            let answer = await client.request(
                "POST", "/v1/enforcements", body: "{\"cgroup\":\"/a.service\",\"policy\":\(policy)}")
            #expect(answer.status == 200)
            #expect(answer.body.contains("\"cgroup\":\"/a.service\""))
            let byPid = await client.request(
                "POST", "/v1/enforcements", body: "{\"pid\":7,\"policy\":\(policy)}")
            #expect(byPid.status == 200)
            #expect(await server.engine.enforced.map(\.target) == [.path("/a.service"), .pid(7)])
            for body in [
                "{\"policy\":\(policy)}", "{\"cgroup\":\"/a\",\"pid\":7,\"policy\":\(policy)}",
                "{\"pid\":0,\"policy\":\(policy)}", "{\"pid\":4294967303,\"policy\":\(policy)}", "{\"cgroup\":\"/a\"}",
            ] {
                #expect(await client.request("POST", "/v1/enforcements", body: body).status == 400, "\(body)")
            }
            #expect(await client.request("GET", "/v1/enforcements").body.contains("\"id\":\"cg-1\""))
            #expect(await client.request("DELETE", "/v1/enforcements/cg-1").status == 204)
            #expect(await client.request("DELETE", "/v1/enforcements/cg-1").status == 404)
        }
    }

    @Test func aPolicyIsReplaced() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            let good = "{\"file\":\"p.yaml\",\"yaml\":\"apiVersion: corral/v1\\nname: narrow\"}"
            let answer = try await server.client().request("PUT", "/v1/sandboxes/sb-1/policy", body: good)
            #expect(answer.status == 200)
            #expect(answer.body.contains("\"name\":\"narrow\""))
            #expect(await server.engine.applied.map(\.policy.name) == ["narrow"])
            let bad = "{\"file\":\"p.yaml\",\"yaml\":\"name: narrow\"}"
            let refusal = try await server.client().request("PUT", "/v1/sandboxes/sb-1/policy", body: bad)
            #expect(refusal.status == 400)
            #expect(refusal.body.contains("\"code\":\"invalid_policy\""))
            #expect(refusal.body.contains("p.yaml: apiVersion: is missing"))
            #expect(await server.engine.applied.count == 1)
            let absent = try await server.client().request("PUT", "/v1/sandboxes/sb-2/policy", body: good)
            #expect(absent.status == 404)
        }
    }

    @Test(arguments: [
        (EngineError.Kind.invalidRequest, 400), (.notFound, 404), (.conflict, 409), (.forbidden, 403),
        (.exhausted, 503),
        (.commandNotFound, 422), (.commandNotExecutable, 422), (.internal, 500),
    ])
    func engineErrorsKeepTheirCode(kind: EngineError.Kind, status: Int) async throws {
        try await TestServer.run { server in
            await server.engine.fail(with: EngineError(kind, "because", detail: ["one", "two"]))
            let response = try await server.client().request("POST", "/v1/sandboxes", body: "{\"command\":[\"a\"]}")
            #expect(response.status == status)
            #expect(
                response.body
                    == "{\"code\":\"\(kind.rawValue)\",\"detail\":[\"one\",\"two\"],\"message\":\"because\"}\n")
        }
    }

    @Test func aLargePolicyPassesAndATooLargeBodyDoesNot() async throws {
        try await TestServer.run { server in
            let padding = String(repeating: " ", count: 4 << 20)
            let large = try await server.client().request(
                "POST", "/v1/sandboxes", body: "{\"command\":[\"a\"]\(padding)}")
            #expect(large.status == 201)
            let client = try server.client()
            await client.send("POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
            async let response = client.response()
            let piece = [UInt8](repeating: 0x20, count: 1 << 20)
            for _ in 0..<17 { await client.sendChunk(piece) }
            #expect(await response.status == 413)
            #expect(await response.body.contains("invalid_request"))
            #expect(await server.engine.created.count == 1)
        }
    }

    @Test func killTakesNamesAndNumbers() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            for (body, expected) in [
                ("", 9), ("{}", 9), ("{\"signal\":\"SIGTERM\"}", 15), ("{\"signal\":\"int\"}", 2),
                ("{\"signal\":\"10\"}", 10),
            ] {
                #expect(await client.request("POST", "/v1/sandboxes/x/kill", body: body).status == 204)
                #expect(await server.engine.kills.last?.signal == Int32(expected), "\(body)")
            }
            for body in [
                "{\"signal\":\"0\"}", "{\"signal\":\"65\"}", "{\"signal\":\"NOPE\"}", "{\"signal\":9}",
                "{\"sig\":\"9\"}",
            ] {
                #expect(await client.request("POST", "/v1/sandboxes/x/kill", body: body).status == 400, "\(body)")
            }
            #expect(await server.engine.kills.count == 5)
            let body = "{\"signal\":\"HUP\",\"exec\":\"ex-1\"}"
            #expect(await client.request("POST", "/v1/sandboxes/x/kill", body: body).status == 204)
            #expect(await server.engine.kills.last?.command == "ex-1")
        }
    }

    @Test func removeForcesOnlyWhenAsked() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            #expect(await client.request("DELETE", "/v1/sandboxes/x").status == 204)
            #expect(await client.request("DELETE", "/v1/sandboxes/x?force=true").status == 204)
            #expect(await client.request("DELETE", "/v1/sandboxes/x?force=yes").status == 400)
            #expect(await client.request("DELETE", "/v1/sandboxes/x?forse=true").status == 400)
            #expect(await server.engine.removals.map(\.force) == [false, true])
        }
    }

    @Test func aBodyThatIsNotFramedAsHTTPIsTheClientsFault() async throws {
        try await TestServer.run { server in
            let client = try server.client()
            await client.send(
                "POST /v1/sandboxes HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\nzz\r\n")
            let response = await client.response()
            #expect(response.status == 400)
            #expect(response.body.contains("\"code\":\"invalid_request\""))
            #expect(await client.isAtEnd())
            #expect(await server.engine.created.isEmpty)
        }
    }

    @Test func hostileBytesEndOneConnectionAtMost() async throws {
        try await TestServer.run { server in
            var generator = SplitMix(state: 42)
            let seeds = [
                "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "GET x://h?%zz#é HTTP/1.1\r\nHost: x\r\n\r\n",
                "POST /v1/sandboxes HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
                "POST /v1/sandboxes/x/attach HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n",
                "GET /v1/events?sandbox=%00%ff&&=&type==%&dst=1/2 HTTP/1.1\r\nHost: x\r\n\r\n",
                "CONNECT ?: HTTP/1.1\r\n\r\n",
                "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
            ]
            for round in 0..<400 {
                var bytes = Array(seeds[round % seeds.count].utf8)
                if round >= seeds.count {
                    for _ in 0..<Int.random(in: 1...6, using: &generator) {
                        bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
                            in: 0...255, using: &generator)
                    }
                }
                let client = try server.client()
                await client.send(bytes)
                client.close()
            }
            let response = try await server.client().request("GET", "/healthz")
            #expect(response.status == 200)
        }
    }
}

/// Sebastiano Vigna's splitmix64: the same numbers in every run.
struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ (z >> 30)) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ (z >> 27)) &* 0x94d0_49bb_1331_11eb
        return z ^ (z >> 31)
    }
}
