import CorralEvents
import CorralPolicy
import NIOCore
import NIOPosix
import Synchronization
import Testing

@testable import CorralEngine

@Suite struct ResolverServerTests {
    private let authority = FakeAuthority()
    private let upstream = FakeUpstream()

    private func withServer(
        on hosts: [String] = ["127.0.0.1"], _ edit: (inout ResolverServer.Limits) -> Void = { _ in },
        configuration: ResolverConfiguration = ResolverConfiguration(), upstream other: (any UpstreamResolver)? = nil,
        _ body: (ResolverServer) async throws -> Void
    ) async throws {
        var limits = ResolverServer.Limits()
        // A test that has to wait for a processor says nothing for longer than a client would.
        limits.idle = .seconds(120)
        edit(&limits)
        let resolver = Resolver(
            configuration: configuration, authority: authority, upstream: other ?? upstream)
        let server = try await ResolverServer.start(
            on: hosts.map { DNSEndpoint(.literal($0), port: 0) }, resolver: resolver,
            group: MultiThreadedEventLoopGroup.singleton, limits: limits)
        do {
            try await body(server)
        } catch {
            await server.stop()
            throw error
        }
        await server.stop()
    }

    @Test(arguments: ["127.0.0.1", "::1"], NameQuery.Transport.allCases)
    func queriesAreAnsweredOverBothTransportsAndFamilies(host: String, transport: NameQuery.Transport) async throws {
        upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        try await withServer(on: [host]) { server in
            let client = try await TestClient.connect(transport, to: server.endpoints[0])
            let reply = try #require(try await client.ask(query("Api.example.com", id: 77)))
            #expect(reply.id == 77 && reply.answers == [.a("api.example.com", "203.0.113.7")])
            #expect(try await client.ask(query("evil.example"))?.responseCode == .refused)
            await client.close()
        }
        #expect(authority.reports.map(\.query.transport) == [transport, transport])
        #expect(authority.reports.map(\.query.server) == [.literal(host), .literal(host)])
    }

    @Test func severalAddressesAreListenedOn() async throws {
        try await withServer(on: ["127.0.0.1", "::1"]) { server in
            #expect(server.endpoints.count == 2)
            for endpoint in server.endpoints {
                let client = try await TestClient.connect(.udp, to: endpoint)
                #expect(try await client.ask(query("evil.example"))?.responseCode == .refused)
                await client.close()
            }
        }
    }

    @Test func aStrangerGetsNothing() async throws {
        authority.edit { $0.clients = [:] }
        try await withServer { server in
            let datagrams = try await TestClient.connect(.udp, to: server.endpoints[0])
            try await datagrams.send(query("api.example.com"))
            let stream = try await TestClient.connect(.tcp, to: server.endpoints[0])
            try await stream.send(query("api.example.com"))
            #expect(await stream.isClosed())
            #expect(try await datagrams.next(within: .milliseconds(200)) == nil)
            await datagrams.close()
        }
        #expect(authority.reports.isEmpty)
    }

    @Test func theAddressIsOpenBeforeTheAnswerIsThere() async throws {
        upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        try await withServer { server in
            for transport in NameQuery.Transport.allCases {
                let client = try await TestClient.connect(transport, to: server.endpoints[0])
                let order = Order()
                authority.edit { $0.duringPin = { order.pinning(for: .milliseconds(50)) } }
                _ = try #require(try await client.ask(query("api.example.com")))
                #expect(order.isPinned)
                await client.close()
            }
        }
        #expect(authority.pins.count == 2)
    }

    @Test func aLargeAnswerComesByTCP() async throws {
        let records = (0..<60).map { DNSRecord.a("big.example.com", "203.0.113.\($0)") }
        upstream.set("big.example.com", records)
        try await withServer { server in
            let datagrams = try await TestClient.connect(.udp, to: server.endpoints[0])
            #expect(try await datagrams.ask(query("big.example.com"))?.flags.isTruncated == true)
            await datagrams.close()
            let stream = try await TestClient.connect(.tcp, to: server.endpoints[0])
            #expect(try await stream.ask(query("big.example.com"))?.answers.map(\.data) == records.map(\.data))
            await stream.close()
        }
    }

    // MARK: TCP

    @Test func aConnectionCarriesManyQueriesInAnyPieces() async throws {
        upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        try await withServer { server in
            let client = try await TestClient.connect(.tcp, to: server.endpoints[0])
            var stream: [UInt8] = []
            for id in 0..<40 as Range<UInt16> {
                let bytes = query(id % 2 == 0 ? "api.example.com" : "evil.example", id: id)
                stream += [0, UInt8(bytes.count)] + bytes
            }
            for start in stride(from: 0, to: stream.count, by: 97) {
                try await client.sendRaw(Array(stream[start..<min(start + 97, stream.count)]))
            }
            var ids: Set<UInt16> = []
            while ids.count < 40, let reply = try await client.next() { ids.insert(reply.id) }
            #expect(ids == Set(0..<40))
            await client.close()
        }
    }

    @Test func whoStopsSendingStillGetsTheAnswers() async throws {
        upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        upstream.hold()
        try await withServer { server in
            let client = try await TestClient.connect(.tcp, to: server.endpoints[0])
            try await client.send(query("api.example.com", id: 1))
            try await client.send(query("evil.example", id: 2))
            try await client.endSending()
            while upstream.waiting == 0 { await Task.yield() }
            upstream.release()
            var ids: Set<UInt16> = []
            while let reply = try await client.next() { ids.insert(reply.id) }
            #expect(ids == [1, 2])
            #expect(await client.isClosed())
        }
    }

    @Test func queriesBeyondTheBoundWaitUnread() async throws {
        upstream.hold()
        for index in 0..<12 { upstream.set("n\(index).wild.example", [.a("n\(index).wild.example", "203.0.113.7")]) }
        try await withServer({ $0.pipelined = 4 }) { server in
            let client = try await TestClient.connect(.tcp, to: server.endpoints[0])
            for index in 0..<12 { try await client.send(query("n\(index).wild.example", id: UInt16(index))) }
            while upstream.waiting < 4 { await Task.yield() }
            try await Task.sleep(for: .milliseconds(50))
            #expect(upstream.waiting == 4)
            upstream.release()
            var ids: Set<UInt16> = []
            while ids.count < 12, let reply = try await client.next() { ids.insert(reply.id) }
            #expect(ids == Set(0..<12))
            await client.close()
        }
    }

    @Test func connectionsOfOneClientAreBounded() async throws {
        try await withServer({ $0.connections = 3 }) { server in
            var clients: [TestClient] = []
            for _ in 0..<3 {
                let client = try await TestClient.connect(.tcp, to: server.endpoints[0])
                #expect(try await client.ask(query("evil.example")) != nil)
                clients.append(client)
            }
            let fourth = try await TestClient.connect(.tcp, to: server.endpoints[0])
            #expect(await fourth.isClosed())
            #expect(try await clients[0].ask(query("evil.example")) != nil)
            // One that ends makes room.
            await clients[0].close()
            var answered = false
            for _ in 0..<20 where !answered {
                let fifth = try await TestClient.connect(.tcp, to: server.endpoints[0])
                answered = (try? await fifth.ask(query("evil.example"))) != nil
                await fifth.close()
            }
            #expect(answered)
            for client in clients { await client.close() }
        }
    }

    @Test(arguments: [[0, 0], [0, 11, 1, 2, 3]] as [[UInt8]])
    func aFrameTooShortForAHeaderEndsTheConnection(bytes: [UInt8]) async throws {
        try await withServer { server in
            let client = try await TestClient.connect(.tcp, to: server.endpoints[0])
            try await client.sendRaw(bytes)
            #expect(await client.isClosed())
        }
    }

    @Test func stoppingEndsEveryConnection() async throws {
        let resolver = Resolver(configuration: ResolverConfiguration(), authority: authority, upstream: upstream)
        let server = try await ResolverServer.start(
            on: [DNSEndpoint(.literal("127.0.0.1"), port: 0)], resolver: resolver,
            group: MultiThreadedEventLoopGroup.singleton)
        let client = try await TestClient.connect(.tcp, to: server.endpoints[0])
        #expect(try await client.ask(query("evil.example")) != nil)
        await server.stop()
        #expect(await client.isClosed())
        // Its port is free again.
        let next = try await ResolverServer.start(
            on: server.endpoints, resolver: resolver, group: MultiThreadedEventLoopGroup.singleton)
        await next.stop()
    }

    @Test func stoppingGivesUpWhatWaitsOutside() async throws {
        let silent = try await TestNameServer.start { _ in [] }
        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let resolver = Resolver(
            configuration: ResolverConfiguration(), authority: authority,
            upstream: Upstream(
                servers: UpstreamServers([silent.endpoint]), group: group,
                limits: Upstream.Limits(timeout: .seconds(120), total: .seconds(120))))
        let server = try await ResolverServer.start(
            on: [DNSEndpoint(.literal("127.0.0.1"), port: 0)], resolver: resolver, group: group)
        let client = try await TestClient.connect(.udp, to: server.endpoints[0])
        try await client.send(query("api.example.com"))
        while silent.asked.isEmpty { await Task.yield() }
        let started = ContinuousClock.now
        await server.stop()
        try await group.shutdownGracefully()
        #expect(started.duration(to: .now) < .seconds(60))
        #expect(resolver.statistics.failed == 1)
        await client.close()
        await silent.stop()
    }

    @Test func anAddressThatIsTakenIsNamed() async throws {
        try await withServer { server in
            let resolver = Resolver(configuration: ResolverConfiguration(), authority: authority, upstream: upstream)
            let error = await #expect(throws: ResolverServer.Failure.self) {
                _ = try await ResolverServer.start(
                    on: server.endpoints, resolver: resolver, group: MultiThreadedEventLoopGroup.singleton)
            }
            #expect(error?.description.hasPrefix("cannot listen on 127.0.0.1:") == true)
        }
    }

    // MARK: the whole way

    @Test(arguments: ["127.0.0.1", "::1"])
    func fromAProgramToANameServerAndBack(host: String) async throws {
        let records = (0..<50).map { DNSRecord.a("big.example.com", "203.0.113.\($0)") }
        let outside = try await TestNameServer.start(host) { asked in
            let name = asked.message.questions.first?.name
            var reply = answer(to: asked.message, [])
            if name == .literal("api.example.com") {
                reply = answer(
                    to: asked.message,
                    [.cname("api.example.com", "cdn.test"), .a("cdn.test", "10.0.0.1"), .a("cdn.test", "203.0.113.7")])
            } else if name == .literal("big.example.com") {
                reply = answer(to: asked.message, records)
            } else {
                reply.responseCode = .nameError
                reply.authorities = [.soa("example.com")]
            }
            return [.bytes(reply.encoded(limit: asked.transport == .udp ? 512 : 65535))]
        }
        let forwarding = Upstream(
            servers: UpstreamServers([outside.endpoint]), group: MultiThreadedEventLoopGroup.singleton)
        authority.edit { $0.decisions["none.example.com"] = .allowed(rules: [0], anywhere: false) }
        try await withServer(on: [host], upstream: forwarding) { server in
            let client = try await TestClient.connect(.udp, to: server.endpoints[0])
            let reply = try #require(try await client.ask(query("API.example.com", edns: EDNS(payloadSize: 1232))))
            #expect(reply.answers == [.cname("api.example.com", "cdn.test"), .a("cdn.test", "203.0.113.7")])
            #expect(try await client.ask(query("none.example.com"))?.responseCode == .nameError)
            #expect(try await client.ask(query("evil.example"))?.responseCode == .refused)
            #expect(try await client.ask(query("big.example.com"))?.flags.isTruncated == true)
            await client.close()
            let stream = try await TestClient.connect(.tcp, to: server.endpoints[0])
            #expect(try await stream.ask(query("big.example.com"))?.answers.map(\.data) == records.map(\.data))
            await stream.close()
        }
        await outside.stop()
        #expect(
            outside.asked.compactMap { $0.message.questions.first?.name.folded.description } == [
                "api.example.com", "none.example.com", "big.example.com", "big.example.com",
            ])
    }
}

/// Whether a pin was complete when the answer came.
private final class Order: Sendable {
    private let finished = Atomic(false)

    var isPinned: Bool { finished.load(ordering: .acquiring) }

    /// Takes its time, as a slow kernel would.
    func pinning(for duration: Duration) {
        let end = ContinuousClock.now.advanced(by: duration)
        while ContinuousClock.now < end {}
        finished.store(true, ordering: .releasing)
    }
}
