import CorralEvents
import CorralPolicy
import Synchronization
import Testing

@testable import CorralEngine

@Suite struct ResolverTests {
    private let bench = Bench()
    private let client = ResolverClient(slot: 1, epoch: 11)

    private func ask(_ name: String, _ type: DNSRecordType = .a, from: ResolverPeer = FakeAuthority.one) async throws
        -> DNSMessage
    {
        try #require(try await bench.ask(query(name, type), from: from))
    }

    // MARK: the policy's word

    @Test func aNameOfThePolicyIsResolvedAndItsAddressesAreOpenedFirst() async throws {
        bench.upstream.set(
            "api.example.com", [.a("api.example.com", "203.0.113.7"), .a("api.example.com", "203.0.113.8")])
        let reply = try await ask("api.example.com")
        #expect(reply.responseCode == .noError)
        #expect(reply.id == 0x1234 && reply.flags.isResponse && reply.flags.recursionAvailable)
        #expect(reply.answers == [.a("api.example.com", "203.0.113.7"), .a("api.example.com", "203.0.113.8")])
        let addresses: [IPAddress] = [.literal("203.0.113.7"), .literal("203.0.113.8")]
        #expect(
            bench.authority.pins == [
                FakeAuthority.Pin(
                    addresses: addresses, name: "api.example.com", rules: [0], seconds: 360, client: client)
            ])
        #expect(
            bench.authority.reports == [
                DNSReport(
                    query: NameQuery(
                        verdict: .allow, reason: .allowedByRule, name: "api.example.com", recordType: .a,
                        transport: .udp,
                        responseCode: .noError, answers: addresses), rule: .allow(0))
            ])
    }

    @Test func anotherNameIsRefusedWithoutBeingForwarded() async throws {
        let reply = try await ask("evil.example")
        #expect(reply.responseCode == .refused)
        #expect(reply.answers.isEmpty)
        #expect(reply.questions == [DNSQuestion(name: .literal("evil.example"), type: .a)])
        #expect(bench.upstream.questions.isEmpty && bench.authority.pins.isEmpty)
        let report = try #require(bench.authority.reports.first)
        #expect(report.query.verdict == .deny && report.query.reason == .nameNotAllowed && report.rule == nil)
        #expect(
            report.query.hint
                == "no rule of egress.allow names evil.example; to permit it add { domain: evil.example, ports: [443] }"
        )
    }

    @Test func aDeniedNameNamesItsRule() async throws {
        #expect(try await ask("denied.example.com").responseCode == .refused)
        let report = try #require(bench.authority.reports.first)
        #expect(report.query.reason == .deniedByRule && report.rule == .deny(1))
        #expect(bench.upstream.questions.isEmpty)
    }

    @Test func aNameIsJudgedInLowerCaseAndAnsweredInItsOwn() async throws {
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        let reply = try await ask("aPi.eXample.COM")
        #expect(bench.authority.asked.allSatisfy { $0 == "api.example.com" })
        #expect(reply.questions.first?.name.wire == DNSName.literal("aPi.eXample.COM").wire)
        #expect(reply.answers.first?.name.wire == DNSName.literal("aPi.eXample.COM").wire)
        // What upstream hears has nothing of the sandbox's choice of letters.
        #expect(bench.upstream.questions.map(\.name.wire) == [DNSName.literal("api.example.com").wire])
    }

    @Test func aDotInsideALabelIsNotTheDotBetweenTwo() async throws {
        var message = try DNSMessage(decoding: query("x"))
        // One label "api.example" and one "com": its text would be that of a permitted name.
        let name = try #require(DNSName(uncompressed: [11] + Array("api.example".utf8) + [3] + Array("com".utf8) + [0]))
        message.questions = [DNSQuestion(name: name, type: .a)]
        let reply = try #require(try await bench.ask(message.encoded()))
        #expect(reply.responseCode == .refused)
        #expect(bench.authority.asked.isEmpty)
        #expect(bench.authority.reports.first?.query.name == "api\\.example.com")
        #expect(
            bench.authority.reports.first?.query.hint
                == "api\\.example.com holds what no host name does; no policy can permit it")
    }

    @Test func theRootIsRefused() async throws {
        #expect(try await ask(".", .ns).responseCode == .refused)
        #expect(bench.authority.reports.first?.query.name == ".")
    }

    @Test func rulesThatSayNothingAllowNothing() async throws {
        bench.authority.edit { $0.decisions["api.example.com"] = .allowed(rules: [], anywhere: false) }
        #expect(try await ask("api.example.com").responseCode == .refused)
        #expect(bench.authority.reports.first?.query.verdict == .deny)
    }

    @Test func whoMayReachAnyAddressNeedsNoPins() async throws {
        bench.authority.edit { $0.decisions["any.example"] = .allowed(rules: [], anywhere: true) }
        bench.upstream.set("any.example", [.a("any.example", "203.0.113.7"), .a("any.example", "10.0.0.1")])
        #expect(try await ask("any.example").answers == [.a("any.example", "203.0.113.7")])
        #expect(bench.authority.pins.isEmpty)
    }

    @Test func auditLetsRefusedNamesThroughAndSaysSo() async throws {
        bench.authority.edit { $0.isAudited = true }
        bench.upstream.set("evil.example", [.a("evil.example", "203.0.113.7")])
        bench.upstream.set("denied.example.com", [.a("denied.example.com", "203.0.113.7")])
        #expect(try await ask("evil.example").answers.count == 1)
        #expect(try await ask("denied.example.com").answers.count == 1)
        let reports = bench.authority.reports
        #expect(reports.map(\.query.verdict) == [.wouldDeny, .wouldDeny])
        #expect(reports.map(\.query.reason) == [.nameNotAllowed, .deniedByRule])
        #expect(reports.map(\.rule) == [nil, .deny(1)])
        #expect(reports.allSatisfy { $0.query.hint != nil })
        #expect(bench.authority.pins.isEmpty)
    }

    // MARK: addresses

    @Test func addressesAtTheEndOfAChainAreOpenedUnderTheNameAsked() async throws {
        bench.upstream.set(
            "big.example.com",
            [
                .cname("big.example.com", "x.cdn.test"), .cname("x.cdn.test", "y.cdn.test"),
                .a("y.cdn.test", "203.0.113.7"),
            ])
        #expect(try await ask("big.example.com").answers.count == 3)
        let pin = try #require(bench.authority.pins.first)
        #expect(pin.name == "big.example.com" && pin.rules == [0, 2] && pin.addresses == [.literal("203.0.113.7")])
        // The chain's names are not asked of the policy.
        #expect(Set(bench.authority.asked) == ["big.example.com"])
    }

    @Test func aNameThatStandsForReservedAddressesAloneHasNone() async throws {
        bench.upstream.set("api.example.com", [.cname("api.example.com", "x.test"), .a("x.test", "169.254.169.254")])
        let reply = try await ask("api.example.com")
        #expect(reply.responseCode == .noError && reply.answers.isEmpty && reply.authorities.isEmpty)
        #expect(bench.authority.pins.isEmpty)
        let report = try #require(bench.authority.reports.first)
        #expect(report.query.verdict == .deny && report.query.reason == .reservedAddress)
        #expect(report.query.removed == [.literal("169.254.169.254")])
        // Its twin: the policy rules that address itself.
        bench.authority.edit { $0.opened = [.literal("169.254.169.254")] }
        #expect(try await ask("api.example.com").answers.count == 2)
        #expect(bench.authority.pins.count == 1)
    }

    @Test func aMixedAnswerKeepsItsPublicPart() async throws {
        bench.upstream.set(
            "api.example.com", [.a("api.example.com", "10.0.0.1"), .a("api.example.com", "203.0.113.7")])
        #expect(try await ask("api.example.com").answers == [.a("api.example.com", "203.0.113.7")])
        #expect(bench.authority.pins.map(\.addresses) == [[.literal("203.0.113.7")]])
        let report = try #require(bench.authority.reports.first)
        #expect(report.query.verdict == .allow)
        #expect(report.query.answers == [.literal("203.0.113.7")] && report.query.removed == [.literal("10.0.0.1")])
    }

    @Test func hintsOfServicesAreOpenedToo() async throws {
        let record = DNSRecord(
            name: .literal("api.example.com"), type: .https, ttl: 60,
            data: .service(
                ServiceBinding(
                    priority: 1, target: .root,
                    parameters: [
                        ServiceBinding.Parameter(key: 4, value: [203, 0, 113, 7]),
                        ServiceBinding.Parameter(key: 5, value: [1]),
                    ])))
        bench.upstream.set("api.example.com", type: .https, [record])
        let reply = try await ask("api.example.com", .https)
        guard case .service(let binding) = reply.answers.first?.data else {
            Issue.record("no binding")
            return
        }
        #expect(binding.parameters.map(\.key) == [4])
        #expect(bench.authority.pins.map(\.addresses) == [[.literal("203.0.113.7")]])
    }

    @Test func anAnswerWhoseAddressesCannotBeOpenedDoesNotLeave() async throws {
        bench.authority.edit { $0.refusesPins = true }
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        let reply = try await ask("api.example.com")
        #expect(reply.responseCode == .serverFailure && reply.answers.isEmpty)
        #expect(bench.authority.reports.first?.query.responseCode == .serverFailure)
        #expect(bench.authority.reports.first?.query.answers == [])
        bench.authority.edit { $0.refusesPins = false }
        #expect(try await ask("api.example.com").answers.count == 1)
    }

    @Test func sectionsBesideTheAnswerAreDropped() async throws {
        bench.upstream.set(
            "api.example.com", [.a("api.example.com", "203.0.113.7")], authorities: [.soa("example.com")],
            additionals: [.a("ns.example.com", "203.0.113.99")])
        let reply = try await ask("api.example.com")
        #expect(reply.authorities.isEmpty && reply.additionals.isEmpty && reply.edns == nil)
        #expect(bench.authority.pins.map(\.addresses) == [[.literal("203.0.113.7")]])
    }

    @Test func aNameThatDoesNotExistIsToldWithItsSOA() async throws {
        bench.upstream.set(
            "api.example.com", [], code: .nameError, authorities: [.soa("example.com", ttl: 900, minimum: 800)])
        let reply = try await ask("api.example.com")
        #expect(reply.responseCode == .nameError)
        #expect(reply.authorities == [.soa("example.com", ttl: 300, minimum: 800)])
        #expect(bench.authority.reports.first?.query.verdict == .allow)
        #expect(bench.authority.reports.first?.query.responseCode == .nameError)
    }

    // MARK: senders

    @Test func aStrangerIsNotAnswered() async throws {
        let stranger = ResolverPeer(address: .literal("10.213.0.99"), port: 1, transport: .udp)
        #expect(try await bench.ask(query("api.example.com"), from: stranger) == nil)
        #expect(bench.authority.reports.isEmpty && bench.authority.asked.isEmpty)
    }

    @Test func aSandboxThatEndsMeanwhileGetsNothingAndOpensNothing() async throws {
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        bench.upstream.hold()
        let bench = bench
        let waiting = Task { await bench.resolver.answer(query("api.example.com"), from: FakeAuthority.one) }
        while bench.upstream.waiting == 0 { await Task.yield() }
        // The next tenant of the address.
        bench.authority.edit { $0.clients[.literal("10.213.0.1")] = ResolverClient(slot: 1, epoch: 99) }
        #expect(try await ask("evil.example").responseCode == .refused)
        bench.upstream.release()
        #expect(await waiting.value == nil)
        #expect(bench.authority.pins.isEmpty)
        // What the old one's answer left behind is not the new one's.
        #expect(bench.resolver.queries(of: ResolverClient(slot: 1, epoch: 99)) == 1)
        #expect(try await ask("api.example.com").answers.count == 1)
        #expect(bench.upstream.questions.count == 2)
    }

    @Test func aPolicyThatChangesMeanwhileDecides() async throws {
        bench.upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7")])
        bench.upstream.hold()
        let bench = bench
        let waiting = Task { try await bench.ask(query("api.example.com")) }
        while bench.upstream.waiting == 0 { await Task.yield() }
        bench.authority.edit { $0.decisions["api.example.com"] = .notAllowed }
        bench.upstream.release()
        #expect(try await waiting.value?.responseCode == .refused)
        #expect(bench.authority.pins.isEmpty)
        // What is known by then is no way around it either.
        #expect(try await ask("api.example.com").responseCode == .refused)
    }

    @Test func theSandboxIsToldWhenNoServerAnswers() async throws {
        #expect(try await ask("api.example.com").responseCode == .serverFailure)
        let report = try #require(bench.authority.reports.first)
        #expect(report.query.verdict == .allow && report.query.responseCode == .serverFailure)
        #expect(report.query.hint == "no name server gave a usable answer; the policy permits the name")
    }

    @Test func brokenAndOddQueriesAreAnsweredAsSuch() async throws {
        #expect(try await bench.ask(query("api.example.com") + [0])?.responseCode == .formatError)
        #expect(try await bench.ask([1, 2, 3]) == nil)
        #expect(try await ask("api.example.com", .any).responseCode == .refused)
        #expect(try await bench.ask(query("api.example.com", class: 3))?.responseCode == .refused)
        let odd = query("api.example.com", edns: EDNS(payloadSize: 1232, version: 7))
        #expect(try await bench.ask(odd)?.responseCode == .badVersion)
        #expect(bench.authority.reports.map(\.query.reason) == [.protocolNotAllowed, .protocolNotAllowed])
        #expect(bench.upstream.questions.isEmpty)
    }

    // MARK: size

    @Test func aLargeAnswerIsCutOverUDPAndWholeOverTCP() async throws {
        let records = (0..<60).map { DNSRecord.a("big.example.com", "203.0.113.\($0)") }
        bench.upstream.set("big.example.com", records)
        let cut = try await ask("big.example.com")
        #expect(cut.flags.isTruncated && cut.answers.isEmpty)
        // What did not leave is not opened.
        #expect(bench.authority.pins.isEmpty)
        let whole = try await ask("big.example.com", from: FakeAuthority.stream)
        #expect(!whole.flags.isTruncated && whole.answers == records)
        #expect(bench.authority.pins.first?.addresses.count == 60)
        #expect(bench.upstream.questions.count == 1)
        let roomy = try #require(
            try await bench.ask(query("big.example.com", edns: EDNS(payloadSize: 4096))))
        #expect(roomy.answers == records && roomy.edns == EDNS(payloadSize: 1232))
    }
}
