import CorralAPI
import CorralEngine
import CorralEvents
import CorralPolicy
import Glibc
import Testing

@testable import CorralServer

/// Who is let in over TCP, and to what.
@Suite struct AccessTests {
    private static func bearer(_ token: String) -> [String: String] { ["Authorization": "Bearer \(token)"] }

    private static func key(
        _ server: TestServer, _ scope: AccessRight, expiresIn: String? = nil
    ) async throws -> CreatedApiKey {
        try await server.keys.create(CreateApiKeyRequest(name: "t", scope: scope, expiresIn: expiresIn))
    }

    @Test func aKeyOpensWhatItsScopeHolds() async throws {
        try await TestServer.run(listens: true) { server in
            await server.engine.add("sb-1")
            let requests: [(method: String, target: String, body: String?, right: AccessRight)] = [
                ("GET", "/v1/sandboxes", nil, .read), ("GET", "/metrics", nil, .read),
                ("GET", "/v1/doctor", nil, .read),
                ("POST", "/v1/sandboxes", "{\"command\":[\"id\"]}", .run),
                ("POST", "/v1/sandboxes/sb-1/kill", nil, .run), ("DELETE", "/v1/sandboxes/sb-1", nil, .run),
                (
                    "POST", "/v1/enforcements",
                    "{\"cgroup\":\"/x\",\"policy\":{\"file\":\"p\",\"yaml\":\"apiVersion: corral/v1\\nname: p\\n\"}}",
                    .admin
                ),
                ("DELETE", "/v1/enforcements/cg-1", nil, .admin),
            ]
            for scope in AccessRight.allCases {
                let token = try await Self.key(server, scope).token
                let client = try server.tcpClient()
                for (method, target, body, right) in requests {
                    let answer = await client.request(method, target, body: body, fields: Self.bearer(token))
                    if scope >= right {
                        #expect((200..<300).contains(answer.status), "\(scope) \(method) \(target): \(answer.body)")
                    } else {
                        #expect(answer.status == 403, "\(scope) \(method) \(target): \(answer.body)")
                        #expect(answer.body.contains("\"code\":\"forbidden\""))
                    }
                }
            }
        }
    }

    @Test func everyRouteIsClosedWithoutAKeyButHealth() async throws {
        var routes = AccessPolicy.rules.keys.sorted()
        while !routes.isEmpty {
            // Once the burst is used up, it is 429.
            let some = Array(routes.prefix(FailedAttempts.burst))
            routes.removeFirst(some.count)
            try await TestServer.run(listens: true) { server in
                let client = try server.tcpClient()
                for route in some {
                    let parts = route.split(separator: " ").map(String.init)
                    let answer = await client.request(parts[0], parts[1].replacing("{ref}", with: "x"))
                    #expect(answer.status == (route == "GET /healthz" ? 200 : 401), "\(route)")
                }
                #expect(server.engine.recorded.allSatisfy { $0.record.action == .authenticate })
            }
        }
        try await TestServer.run(listens: true) { server in
            let client = try server.tcpClient()
            // Nor does it tell what exists.
            #expect(await client.request("GET", "/nowhere").status == 401)
            #expect(await client.request("PATCH", "/v1/pool").status == 401)
            #expect(await client.request("GET", "/healthz").status == 200)
            // The socket needs none.
            #expect(try await server.client().request("GET", "/v1/pool").status == 200)
        }
    }

    /// Nobody reads on where a body was not let in.
    @Test func aBodyOfAStrangerIsNotReadToItsEnd() async throws {
        try await TestServer.run(listens: true) { server in
            let reader = try await Self.key(server, .read)
            for (key, target, status) in [
                ("corral_x_y", "/v1/sandboxes", 401), (reader.token, "/v1/sandboxes", 403),
                (reader.token, "/v1/images?name=a", 403),
            ] {
                let client = try server.tcpClient()
                await client.send(
                    "POST \(target) HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer \(key)\r\nTransfer-Encoding: chunked\r\n\r\n"
                )
                await client.sendChunk(Array(repeating: 0x20, count: 100))
                let answer = await client.response()
                #expect(answer.status == status)
                #expect(answer.fields["connection"] == "close")
                #expect(await client.isAtEnd())
            }
        }
    }

    @Test func missingUnknownWrongAndExpiredKeysAreToldApartByNothing() async throws {
        try await TestServer.run(listens: true) { server in
            let key = try await Self.key(server, .admin)
            let other = try await Self.key(server, .admin)
            let gone = try await Self.key(server, .admin)
            try await server.keys.revoke(gone.key.id)
            let secret = key.token.split(separator: "_")[2]
            let client = try server.tcpClient()
            var answers: [RawClient.Response] = [await client.request("GET", "/v1/pool")]
            for token in [
                "corral_\(other.key.id)_\(secret)", "corral_xxxxxxxxxxxx_\(secret)", gone.token,
                String(key.token.dropLast()),
                key.token + "0", key.token.uppercased(), "x", "corral__", String(secret),
            ] {
                answers.append(await client.request("GET", "/v1/pool", fields: Self.bearer(token)))
            }
            answers.append(await client.request("GET", "/v1/pool", fields: ["Authorization": "Basic \(key.token)"]))
            for answer in answers {
                #expect(answer.status == 401)
                #expect(answer.fields["www-authenticate"] == "Bearer realm=\"corral\"")
                #expect(answer.body == answers[0].body)
            }
            // The twin, by either field.
            #expect(await client.request("GET", "/v1/pool", fields: Self.bearer(key.token)).status == 200)
            #expect(await client.request("GET", "/v1/pool", fields: ["X-API-Key": key.token]).status == 200)
        }
    }

    @Test func anExpiredKeyOpensNothing() async throws {
        let directory = try TemporaryDirectory()
        let now = TestClock(1_000_000)
        let keys = ApiKeys(file: ApiKeyFile(directory: directory.path), clock: { now.value }) { [directory] in
            Issue.record("\(directory.path): \($0)")
        }
        let created = try await keys.create(.init(name: "t", scope: .run, expiresIn: "1h"))
        now.value += 3599
        #expect(keys.authenticate(created.token)?.id == created.key.id)
        now.value += 1
        #expect(keys.authenticate(created.token) == nil)
        await keys.settle()
    }

    @Test func keysAreManagedOverTheSocketAlone() async throws {
        try await TestServer.run(listens: true) { server in
            let admin = try await Self.key(server, .admin)
            let remote = try server.tcpClient()
            let local = try server.client()
            let body = "{\"name\":\"ci\",\"scope\":\"run\",\"expiresIn\":\"1d\"}"
            for (method, target) in [
                ("GET", "/v1/apikeys"), ("POST", "/v1/apikeys"), ("DELETE", "/v1/apikeys/\(admin.key.id)"),
            ] {
                let answer = await remote.request(method, target, body: body, fields: Self.bearer(admin.token))
                #expect(answer.status == 403)
            }
            let created = await local.request("POST", "/v1/apikeys", body: body)
            #expect(created.status == 201)
            let token = try #require(created.body.firstMatch(of: /"token":"(corral_[a-z0-9]{12}_[0-9a-f]{64})"/)?.1)
            let id = token.split(separator: "_")[1]
            #expect(await remote.request("GET", "/v1/pool", fields: Self.bearer(String(token))).status == 200)
            let list = await local.request("GET", "/v1/apikeys").body
            #expect(list.contains("\"id\":\"\(id)\""))
            #expect(!list.contains(token.split(separator: "_")[2]))
            #expect(await local.request("DELETE", "/v1/apikeys/\(id)").status == 204)
            // What it had opened is closed, and it opens nothing.
            #expect(await remote.isAtEnd())
            let again = try server.tcpClient()
            #expect(await again.request("GET", "/v1/pool", fields: Self.bearer(String(token))).status == 401)
            #expect(await again.request("GET", "/v1/pool", fields: Self.bearer(admin.token)).status == 200)
            #expect(await local.request("DELETE", "/v1/apikeys/\(id)").status == 404)
            for bad in [
                "{\"name\":\"\",\"scope\":\"run\"}", "{\"name\":\"a\\u001b\",\"scope\":\"run\"}",
                "{\"name\":\"a\",\"scope\":\"root\"}", "{\"name\":\"a\",\"scope\":\"run\",\"expiresIn\":\"soon\"}",
            ] {
                #expect(await local.request("POST", "/v1/apikeys", body: bad).status == 400, "\(bad)")
            }
        }
    }

    @Test func theJournalNamesTheKeyAndWhoWasRefused() async throws {
        try await TestServer.run(listens: true) { server in
            let key = try await Self.key(server, .run)
            let reader = try await Self.key(server, .read)
            let client = try server.tcpClient()
            let body = "{\"command\":[\"id\"]}"
            _ = await client.request("POST", "/v1/sandboxes", body: body, fields: Self.bearer(key.token))
            _ = await client.request("POST", "/v1/sandboxes", body: body, fields: Self.bearer(reader.token))
            _ = await client.request("DELETE", "/v1/sandboxes/sb-1", fields: Self.bearer("corral_x_y"))
            // Reading is not recorded, also when refused for want of a right.
            _ = await client.request("GET", "/v1/apikeys", fields: Self.bearer(reader.token))
            _ = try await server.client().request(
                "POST", "/v1/apikeys", body: "{\"name\":\"ci\",\"scope\":\"run\"}")
            let records = server.engine.recorded.map(\.record)
            #expect(records.map(\.action) == [.create, .create, .authenticate, .createKey])
            #expect(records[0].by == .remote(address: "127.0.0.1", key: key.key.id))
            #expect(records[0].outcome == .done)
            #expect(records[1].by == .remote(address: "127.0.0.1", key: reader.key.id))
            guard case .refused("forbidden", _) = records[1].outcome else {
                Issue.record("\(records[1])")
                return
            }
            #expect(records[2].by == .remote(address: "127.0.0.1", key: nil))
            guard case .refused("unauthorized", _) = records[2].outcome else {
                Issue.record("\(records[2])")
                return
            }
            #expect(records[3].by == .process(uid: getuid(), gid: getgid(), pid: getpid()))
            #expect(!(records[3].target ?? "").contains("corral_"))
        }
    }

    @Test func wrongKeysAreLimitedByAddressAndRightOnesAreNot() async throws {
        try await TestServer.run(listens: true) { server in
            let key = try await Self.key(server, .read)
            // On a busy machine some are forgiven before the last of them.
            let begun = ContinuousClock.now
            var told = 0
            var client = try server.tcpClient()
            var answer = await client.request("GET", "/v1/pool", fields: Self.bearer("corral_x_y"))
            while answer.status == 401, told < 10 * FailedAttempts.burst {
                told += 1
                client = try server.tcpClient()
                answer = await client.request("GET", "/v1/pool", fields: Self.bearer("corral_x_y"))
            }
            #expect(answer.status == 429)
            let forgiven = Int((ContinuousClock.now - begun) / .seconds(FailedAttempts.secondsPerAttempt))
            #expect((FailedAttempts.burst...FailedAttempts.burst + forgiven + 1).contains(told))
            #expect(answer.fields["retry-after"] == "\(FailedAttempts.secondsPerAttempt)")
            #expect(await client.isAtEnd())
            let other = try server.tcpClient()
            #expect(await other.request("GET", "/v1/pool", fields: Self.bearer(key.token)).status == 200)
            #expect(server.engine.recorded.count == told)
        }
    }

    @Test func attemptsAreForgivenWithTime() {
        let attempts = FailedAttempts()
        var now = ContinuousClock.now
        for _ in 0..<FailedAttempts.burst { #expect(attempts.count(from: "a", at: now)) }
        #expect(!attempts.count(from: "a", at: now))
        #expect(attempts.count(from: "b", at: now))
        now += .seconds(FailedAttempts.secondsPerAttempt)
        #expect(attempts.count(from: "a", at: now))
        #expect(!attempts.count(from: "a", at: now))
        // The table does not grow without end.
        for number in 0..<(FailedAttempts.mostAddresses + 10) { _ = attempts.count(from: "\(number)", at: now) }
        #expect(!attempts.count(from: "new", at: now))
        now += .seconds(FailedAttempts.secondsPerAttempt)
        #expect(attempts.count(from: "new", at: now))
    }

    @Test func readersMayLookAndNothingElse() async throws {
        try await TestServer.run(readers: "nogroup") { server in
            let path = String(server.socketPath.dropLast(5)) + "-read.sock"
            let status = try #require(try FileStatus(path: path))
            #expect(status.mode == 0o660)
            #expect(status.group == getgrnam("nogroup").pointee.gr_gid)
            #expect(status.owner == geteuid())
            let directory = try FileStatus(path: String(server.socketPath.dropLast("/corral.sock".count)))
            #expect(directory?.mode == 0o751)
            let reader = try RawClient(path)
            #expect(await reader.request("GET", "/v1/sandboxes").status == 200)
            #expect(await reader.request("POST", "/v1/sandboxes", body: "{\"command\":[\"id\"]}").status == 403)
            #expect(await reader.request("GET", "/v1/apikeys").status == 403)
            #expect(try await server.client().request("GET", "/v1/apikeys").status == 200)
            let record = try #require(server.engine.recorded.first?.record)
            #expect(record.by == .process(uid: getuid(), gid: getgid(), pid: getpid()))
            #expect(record.outcome != .done)
        }
    }

    @Test func healthTellsWhetherThereIsRoom() async throws {
        try await TestServer.run(listens: true) { server in
            let answer = try await server.tcpClient().request("GET", "/healthz")
            #expect(answer.status == 200)
            #expect(answer.body == "{\"journal\":\"ok\",\"lsm\":\"absent\",\"status\":\"ok\"}\n")
        }
        let engine = FakeEngine()
        var statistics = EngineStatistics(
            pool: PoolState(target: 0, warm: 0, filling: 0, inUse: 4, coldStarts: 0, warmStarts: 0))
        statistics.slots = MapFill(used: 4, limit: 4)
        statistics.journal.isFailing = true
        await engine.count(statistics)
        try await TestServer.run(engine: engine) { server in
            let answer = try await server.client().request("GET", "/healthz")
            #expect(answer.status == 503)
            #expect(answer.body == "{\"journal\":\"failing\",\"lsm\":\"absent\",\"status\":\"full\"}\n")
        }
    }
}
