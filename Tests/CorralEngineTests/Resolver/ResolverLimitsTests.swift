import CorralEvents
import CorralPolicy
import Testing

@testable import CorralEngine

/// Time, memory and numbers.
@Suite struct ResolverLimitsTests {
    private func ask(
        _ bench: Bench, _ name: String, type: DNSRecordType = .a, from: ResolverPeer = FakeAuthority.one
    ) async throws -> DNSMessage {
        try #require(try await bench.ask(query(name, type), from: from))
    }

    private func configuration(_ edit: (inout ResolverConfiguration) -> Void) -> ResolverConfiguration {
        var configuration = ResolverConfiguration()
        edit(&configuration)
        return configuration
    }

    // MARK: lifetimes

    @Test(
        arguments: [(0, 30), (29, 30), (30, 30), (300, 300), (3600, 3600), (3601, 3600), (2_000_000, 3600)]
            as [(UInt32, UInt32)])
    func lifetimesKeepToFloorAndCeiling(given: UInt32, told: UInt32) async throws {
        let bench = Bench()
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7", ttl: given)])
        #expect(try await ask(bench, "api.example.com").answers.map(\.ttl) == [told])
        // The sandbox may use its answer up to the end, and a while longer.
        #expect(bench.authority.pins.map(\.seconds) == [told + 60])
    }

    @Test func theShortestOfAChainCounts() async throws {
        let bench = Bench()
        bench.upstream.set(
            "api.example.com", [.cname("api.example.com", "x.test", ttl: 45), .a("x.test", "203.0.113.7", ttl: 900)])
        #expect(try await ask(bench, "api.example.com").answers.map(\.ttl) == [45, 45])
        #expect(bench.authority.pins.map(\.seconds) == [105])
    }

    @Test func anAnswerIsKeptForItsTimeAndOpenedAgainEachTime() async throws {
        let bench = Bench()
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7", ttl: 100)])
        _ = try await ask(bench, "api.example.com")
        bench.clock.advance(.seconds(40))
        #expect(try await ask(bench, "API.example.com").answers.map(\.ttl) == [60])
        bench.clock.advance(.milliseconds(59_500))
        #expect(try await ask(bench, "api.example.com").answers.map(\.ttl) == [1])
        #expect(bench.upstream.questions.count == 1)
        #expect(bench.authority.pins.map(\.seconds) == [160, 120, 61])
        #expect(bench.resolver.statistics.fromCache == 2)
        bench.clock.advance(.milliseconds(500))
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.9", ttl: 100)])
        #expect(try await ask(bench, "api.example.com").answers == [.a("api.example.com", "203.0.113.9", ttl: 100)])
        #expect(bench.upstream.questions.count == 2)
    }

    @Test func typesAreKeptApart() async throws {
        let bench = Bench()
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        bench.upstream.set("api.example.com", type: .aaaa, [.aaaa("api.example.com", "2001:db8::7")])
        #expect(try await ask(bench, "api.example.com").answers.count == 1)
        #expect(
            try await ask(bench, "api.example.com", type: .aaaa).answers == [.aaaa("api.example.com", "2001:db8::7")])
    }

    @Test func whatDoesNotExistIsKeptForAShorterTime() async throws {
        let bench = Bench()
        bench.upstream.set(
            "api.example.com", [], code: .nameError, authorities: [.soa("example.com", ttl: 9000, minimum: 9000)])
        #expect(try await ask(bench, "api.example.com").authorities.map(\.ttl) == [300])
        bench.clock.advance(.seconds(299))
        #expect(try await ask(bench, "api.example.com").authorities.map(\.ttl) == [1])
        #expect(bench.upstream.questions.count == 1)
        bench.clock.advance(.seconds(1))
        _ = try await ask(bench, "api.example.com")
        #expect(bench.upstream.questions.count == 2)
    }

    @Test(arguments: [[], [DNSRecord.cname("api.example.com", "x.test")]])
    func withoutAnSOANothingIsKeptAboutWhatDoesNotExist(records: [DNSRecord]) async throws {
        let bench = Bench()
        bench.upstream.set("api.example.com", records)
        for _ in 0..<2 {
            let reply = try await ask(bench, "api.example.com")
            #expect(reply.responseCode == .noError && reply.answers.allSatisfy { $0.ttl == 0 })
        }
        #expect(bench.upstream.questions.count == 2)
    }

    @Test func aFailureIsRememberedForTwoSeconds() async throws {
        let bench = Bench()
        for _ in 0..<3 { #expect(try await ask(bench, "api.example.com").responseCode == .serverFailure) }
        #expect(bench.upstream.questions.count == 1)
        bench.clock.advance(.seconds(2))
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        #expect(try await ask(bench, "api.example.com").responseCode == .noError)
    }

    @Test func sandboxesShareNothing() async throws {
        let bench = Bench()
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        _ = try await ask(bench, "api.example.com")
        _ = try await ask(bench, "api.example.com", from: FakeAuthority.two)
        #expect(bench.upstream.questions.count == 2)
        #expect(bench.authority.pins.map(\.client.slot) == [1, 2])
        // Nor do two tenants of one slot.
        bench.authority.edit { $0.clients[.literal("10.213.0.1")] = ResolverClient(slot: 1, epoch: 50) }
        _ = try await ask(bench, "api.example.com")
        #expect(bench.upstream.questions.count == 3)
        #expect(bench.resolver.queries(of: ResolverClient(slot: 1, epoch: 50)) == 1)
        #expect(bench.resolver.queries(of: ResolverClient(slot: 1, epoch: 11)) == 0)
    }

    @Test func aSandboxThatIsForgottenHasAskedNothing() async throws {
        let bench = Bench()
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        _ = try await ask(bench, "api.example.com")
        let client = ResolverClient(slot: 1, epoch: 11)
        bench.resolver.forget(ResolverClient(slot: 1, epoch: 10))
        #expect(bench.resolver.queries(of: client) == 1)
        bench.resolver.forget(client)
        #expect(bench.resolver.queries(of: client) == 0)
        _ = try await ask(bench, "api.example.com")
        #expect(bench.upstream.questions.count == 2)
    }

    @Test func equalQuestionsWaitForOneAnswer() async throws {
        let bench = Bench()
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        bench.upstream.hold()
        let replies = try await withThrowingTaskGroup(of: DNSMessage?.self) { group in
            for index in 0..<10 as Range<UInt16> {
                group.addTask {
                    try await bench.ask(query(index % 2 == 0 ? "api.example.com" : "API.example.com", id: index))
                }
            }
            while bench.resolver.statistics.received < 10 || bench.upstream.waiting == 0 { await Task.yield() }
            bench.upstream.release()
            return try await group.reduce(into: []) { $0.append($1) }
        }
        #expect(Set(replies.compactMap { $0?.id }) == Set(0..<10))
        #expect(replies.allSatisfy { $0?.answers.count == 1 })
        #expect(bench.upstream.questions.count == 1)
    }

    // MARK: budgets

    @Test func queriesComeAtARate() async throws {
        let bench = Bench(configuration { ($0.budget.rate, $0.budget.burst) = (10, 5) })
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        for _ in 0..<5 { #expect(try await ask(bench, "api.example.com").responseCode == .noError) }
        #expect(try await ask(bench, "api.example.com").responseCode == .refused)
        // Another sandbox has its own.
        #expect(try await ask(bench, "api.example.com", from: FakeAuthority.two).responseCode == .noError)
        bench.clock.advance(.milliseconds(100))
        #expect(try await ask(bench, "api.example.com").responseCode == .noError)
        #expect(try await ask(bench, "api.example.com").responseCode == .refused)
        // No more than the burst is saved up.
        bench.clock.advance(.seconds(3600))
        var answered = 0
        while answered < 20, try await ask(bench, "api.example.com").responseCode == .noError { answered += 1 }
        #expect(answered == 5)
        let report = try #require(bench.authority.reports.first { $0.query.verdict == .deny })
        #expect(report.query.reason == .limitExhausted && report.query.responseCode == .refused)
        #expect(
            report.query.hint
                == "the sandbox asks faster than 10 queries a second; slow down, or keep answers for their time")
    }

    @Test func brokenQueriesCostAsMuchAndThenGetNothing() async throws {
        let bench = Bench(configuration { ($0.budget.rate, $0.budget.burst) = (10, 2) })
        for _ in 0..<2 { #expect(try await bench.ask(query("x") + [0])?.responseCode == .formatError) }
        #expect(try await bench.ask(query("x") + [0]) == nil)
        let odd = query("x", edns: EDNS(payloadSize: 1232, version: 7))
        #expect(try await bench.ask(odd) == nil)
        #expect(try await ask(bench, "api.example.com").responseCode == .refused)
    }

    @Test func aFloodOfRefusalsIsReportedInSums() async throws {
        let bench = Bench(configuration { ($0.budget.rate, $0.budget.burst) = (1, 1) })
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        for _ in 0..<101 { _ = try await ask(bench, "api.example.com") }
        func refusals() -> [UInt64] { bench.authority.reports.filter { $0.query.verdict == .deny }.map(\.query.count) }
        #expect(refusals() == [1])
        bench.resolver.sweep()
        #expect(refusals() == [1])
        bench.clock.advance(.milliseconds(1001))
        bench.resolver.sweep()
        #expect(refusals() == [1, 99])
        bench.clock.advance(.seconds(5))
        bench.resolver.sweep()
        #expect(refusals() == [1, 99])
        // Those that are far apart are told one by one.
        for _ in 0..<2 { _ = try await ask(bench, "api.example.com") }
        #expect(refusals() == [1, 99, 1])
        #expect(bench.resolver.statistics.limited == 101)
    }

    @Test func thePolicyBoundsHowManyQueriesThereAre() async throws {
        let bench = Bench()
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        bench.authority.edit { $0.dnsQueries = 3 }
        // Refused ones count: each says something to the resolver.
        #expect(try await ask(bench, "evil.example").responseCode == .refused)
        for _ in 0..<2 { #expect(try await ask(bench, "api.example.com").responseCode == .noError) }
        #expect(try await ask(bench, "api.example.com").responseCode == .refused)
        #expect(bench.authority.reports.last?.query.reason == .limitExhausted)
        #expect(
            bench.authority.reports.last?.query.hint
                == "the 3 queries of egress.limits.dnsQueries are used up; raise that limit")
        #expect(bench.resolver.queries(of: ResolverClient(slot: 1, epoch: 11)) == 3)
        bench.authority.edit { $0.dnsQueries = 4 }
        #expect(try await ask(bench, "api.example.com").responseCode == .noError)
        // What an earlier daemon counted is not forgotten.
        let two = ResolverClient(slot: 2, epoch: 12)
        bench.resolver.resume(two, queries: 3)
        #expect(try await ask(bench, "api.example.com", from: FakeAuthority.two).responseCode == .noError)
        #expect(try await ask(bench, "api.example.com", from: FakeAuthority.two).responseCode == .refused)
        #expect(bench.resolver.queries(of: two) == 4)
    }

    @Test func aTunnelOfNewNamesRunsDry() async throws {
        let bench = Bench(configuration { ($0.budget.rate, $0.budget.burst) = (1e6, 1e6) })
        var sent = 0
        for index in 0..<2000 {
            let name = "\(String(repeating: "x", count: 50))\(index).wild.example"
            if try await ask(bench, name).responseCode == .refused { break }
            sent += 1
        }
        // 16 KiB in names of 70 octets or so.
        #expect((200...250).contains(sent))
        #expect(bench.authority.reports.last?.query.reason == .limitExhausted)
        // A name of old is not data any more: programs go on.
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        bench.clock.advance(.seconds(1))
        #expect(try await ask(bench, "api.example.com").responseCode == .noError)
        // One that is refused by name has cost nothing and costs nothing.
        #expect(try await ask(bench, "\(String(repeating: "y", count: 50)).evil.example").responseCode == .refused)
        #expect(bench.authority.reports.last?.query.reason == .nameNotAllowed)
        // In the long run some 32 octets a second: a minute pays for 27 names of 70.
        bench.clock.advance(.seconds(60))
        var later = 0
        while later < 100,
            try await ask(bench, "\(String(repeating: "z", count: 50))\(later).wild.example").responseCode != .refused
        {
            later += 1
        }
        #expect((20...32).contains(later))
    }

    @Test func fewNamesAgainAndAgainAreNoTunnel() async throws {
        let bench = Bench(configuration { $0.ttlFloor = 1 })
        for index in 0..<20 {
            bench.upstream.set("n\(index).wild.example", [.a("n\(index).wild.example", "203.0.113.7", ttl: 1)])
        }
        for round in 0..<200 {
            for index in 0..<20 {
                #expect(try await ask(bench, "n\(index).wild.example").responseCode == .noError, "round \(round)")
            }
            bench.clock.advance(.seconds(2))
        }
        #expect(bench.upstream.questions.count == 4000)
    }

    @Test func whoMayReachAnythingNeedsNoTunnel() async throws {
        let bench = Bench(
            configuration {
                ($0.budget.rate, $0.budget.burst) = (1e6, 1e6)
                $0.budget.nameOctetBurst = 100
            })
        for index in 0..<50 {
            bench.authority.edit { $0.decisions["n\(index).any.example"] = .allowed(rules: [], anywhere: true) }
            #expect(try await ask(bench, "n\(index).any.example").responseCode == .serverFailure)
        }
        #expect(bench.upstream.questions.count == 50)
    }

    @Test func queriesUnderWayAreBoundedForEachAndForAll() async throws {
        let bench = Bench(configuration { ($0.mostOutstanding, $0.mostOutstandingTotal) = (3, 5) })
        for index in 0..<10 {
            bench.upstream.set("n\(index).wild.example", [.a("n\(index).wild.example", "203.0.113.7")])
        }
        bench.upstream.hold()
        try await withThrowingTaskGroup(of: DNSResponseCode?.self) { group in
            for (index, source) in [FakeAuthority.one, FakeAuthority.two].enumerated() {
                for number in 0..<4 {
                    let name = "n\(index * 4 + number).wild.example"
                    group.addTask { try await bench.ask(query(name), from: source)?.responseCode }
                }
            }
            // Five wait; the rest has been told off.
            for _ in 0..<3 { #expect(try await group.next() == .serverFailure) }
            while bench.upstream.waiting < 5 { await Task.yield() }
            bench.upstream.release()
            while let code = try await group.next() { #expect(code == .noError) }
        }
        #expect(
            bench.authority.reports.filter { $0.query.reason == .limitExhausted }.reduce(0) { $0 + $1.query.count } >= 2
        )
        // And nothing of it stays.
        for index in 0..<10 { #expect(try await ask(bench, "n\(index).wild.example").responseCode == .noError) }
    }

    @Test func oneAnswerOpensABoundedNumberOfAddresses() async throws {
        let bench = Bench()
        bench.upstream.set("big.example.com", (0..<200).map { .a("big.example.com", "203.0.113.\($0)") })
        let reply = try await ask(bench, "big.example.com", from: FakeAuthority.stream)
        #expect(reply.answers.count == 64)
        #expect(bench.authority.pins.map(\.addresses.count) == [64])
    }
}
