import CorralEvents
import CorralPolicy
import Testing

@testable import CorralEngine

@Suite struct AnswerScreenTests {
    private func follow(
        _ name: String, type: DNSRecordType = .a, _ answers: [DNSRecord], code: DNSResponseCode = .noError,
        authorities: [DNSRecord] = [], longestChain: Int = 12, mostRecords: Int = 128
    ) throws -> ResolvedAnswer {
        let question = DNSQuestion(name: .literal(name), type: type)
        let query = DNSMessage(id: 1, flags: DNSFlags(), questions: [question])
        return try AnswerScreen.follow(
            question, in: answer(to: query, answers, code: code, authorities: authorities),
            longestChain: longestChain, mostRecords: mostRecords)
    }

    private func isPublic(_ address: IPAddress) -> Bool {
        !FakeAuthority.reserved.contains { $0.contains(address) }
    }

    private func screen(_ records: [DNSRecord], _ type: DNSRecordType = .a, most: Int = 64) -> AnswerScreen.Screened {
        AnswerScreen.screen(records, for: type, mostAddresses: most, mayAnswer: isPublic)
    }

    // MARK: the chain

    @Test func aChainIsFollowedFromTheQuestionInAnyOrder() throws {
        let found = try follow(
            "a.example",
            [
                .a("c.example", "203.0.113.2", ttl: 9), .cname("B.example", "c.example", ttl: 20),
                .cname("a.example", "b.EXAMPLE", ttl: 30), .a("c.example", "203.0.113.3", ttl: 40),
            ])
        #expect(
            found.records == [
                .cname("a.example", "b.example", ttl: 30), .cname("b.example", "c.example", ttl: 20),
                .a("c.example", "203.0.113.2", ttl: 9), .a("c.example", "203.0.113.3", ttl: 40),
            ])
        #expect(found.ttl == 9)
        #expect(found.records.allSatisfy { $0.name.wire == $0.name.folded.wire })
    }

    @Test func recordsOutsideTheChainAreLeftBehind() throws {
        let chaos = DNSRecord(
            name: .literal("a.example"), type: .a, ttl: 1, data: .ipv4(.literal("203.0.113.9")), recordClass: 3)
        let found = try follow(
            "a.example",
            [
                .a("other.example", "203.0.113.8"), .a("a.example", "203.0.113.2"), .aaaa("a.example", "2001:db8::1"),
                .cname("x.example", "a.example"), chaos,
            ], authorities: [.soa("example")])
        #expect(found.records == [.a("a.example", "203.0.113.2")])
        #expect(found.authority == nil)
    }

    @Test func aLoopIsAFailure() {
        for answers: [DNSRecord] in [
            [.cname("a.example", "a.example")],
            [.cname("a.example", "b.example"), .cname("b.example", "A.example")],
            [.cname("a.example", "b.example"), .cname("b.example", "c.example"), .cname("c.example", "b.example")],
        ] {
            #expect(throws: AnswerScreen.Failure.chain) { try follow("a.example", answers) }
        }
    }

    @Test func aNameWithTwoAliasesIsAFailureUnlessTheyAgree() throws {
        #expect(throws: AnswerScreen.Failure.chain) {
            try follow("a.example", [.cname("a.example", "b.example"), .cname("a.example", "c.example")])
        }
        let twins: [DNSRecord] = [
            .cname("a.example", "b.example"), .cname("a.example", "b.example"), .a("b.example", "203.0.113.1"),
        ]
        #expect(try follow("a.example", twins).records.count == 2)
    }

    @Test func aChainHasALength() throws {
        func chain(_ length: Int) -> [DNSRecord] {
            (0..<length).map { .cname("n\($0).example", "n\($0 + 1).example") } + [
                .a("n\(length).example", "203.0.113.1")
            ]
        }
        #expect(try follow("n0.example", chain(12)).records.count == 13)
        #expect(throws: AnswerScreen.Failure.chain) { try follow("n0.example", chain(13)) }
    }

    @Test func recordsAreBounded() throws {
        let many = (0..<300).map { DNSRecord.a("a.example", "203.0.\($0 / 250).\($0 % 250)") }
        #expect(try follow("a.example", many, mostRecords: 100).records.count == 100)
    }

    @Test func anAliasItselfIsAnAnswerWhenAskedFor() throws {
        let found = try follow(
            "a.example", type: .cname, [.cname("a.example", "b.example"), .a("b.example", "203.0.113.1")])
        #expect(found.records == [.cname("a.example", "b.example")])
    }

    @Test(arguments: [DNSResponseCode.noError, .nameError])
    func aNegativeAnswerKeepsTheRightSOAAlone(code: DNSResponseCode) throws {
        let found = try follow(
            "no.a.example", [], code: code, authorities: [.soa("other"), .soa("a.example", ttl: 90, minimum: 50)])
        #expect(found.code == code)
        #expect(found.authority == .soa("a.example", ttl: 90, minimum: 50))
        #expect(found.ttl == 50)
        #expect(try follow("no.a.example", [], code: code, authorities: [.soa("other")]).authority == nil)
        #expect(try follow("no.a.example", [], code: code).ttl == 0)
    }

    @Test func anAliasOfNothingKeepsItsChain() throws {
        let found = try follow(
            "a.example", [.cname("a.example", "b.test", ttl: 40)], code: .nameError,
            authorities: [.soa("test", ttl: 90, minimum: 50)])
        #expect(found.records == [.cname("a.example", "b.test", ttl: 40)])
        #expect(found.authority == .soa("test", ttl: 90, minimum: 50))
        #expect(found.ttl == 40)
    }

    @Test(arguments: [DNSResponseCode.serverFailure, .refused, .formatError, DNSResponseCode(rawValue: 9)])
    func otherCodesAreFailures(code: DNSResponseCode) {
        #expect(throws: AnswerScreen.Failure.code(code)) { try follow("a.example", [], code: code) }
    }

    // MARK: what may leave

    @Test func reservedAddressesGoAndTheirPublicTwinsStay() {
        let records: [DNSRecord] = [
            .cname("a.example", "b.example"), .a("b.example", "10.0.0.1"), .a("b.example", "203.0.113.1"),
            .a("b.example", "127.0.0.1"), .a("b.example", "10.0.0.1"), .a("b.example", "203.0.113.1"),
        ]
        let screened = screen(records)
        #expect(screened.records == [records[0], records[2], records[5]])
        #expect(screened.addresses == [.literal("203.0.113.1")])
        #expect(screened.removed == [.literal("10.0.0.1"), .literal("127.0.0.1")])
    }

    @Test func anIPv4AddressWrittenAsIPv6IsTheSame() {
        let screened = screen(
            [
                .aaaa("a.example", "::ffff:10.0.0.1"), .aaaa("a.example", "::ffff:203.0.113.1"),
                .aaaa("a.example", "fd00::1"),
            ],
            .aaaa)
        #expect(screened.records == [.aaaa("a.example", "::ffff:203.0.113.1")])
        #expect(screened.addresses == [.literal("203.0.113.1")])
        #expect(screened.removed == [.literal("10.0.0.1"), .literal("fd00::1")])
    }

    @Test func whereNothingStaysTheChainGoesToo() {
        let screened = screen([.cname("a.example", "b.example"), .a("b.example", "10.0.0.1")])
        #expect(screened.records.isEmpty)
        // A chain that led nowhere at the name server stays.
        #expect(screen([.cname("a.example", "b.example")]).records.count == 1)
    }

    @Test func oneAnswerOpensABoundedNumberOfAddresses() {
        let records = (0..<10).map { DNSRecord.a("a.example", "203.0.113.\($0)") }
        let screened = screen(records + records, most: 4)
        #expect(screened.addresses == (0..<4).map { .literal("203.0.113.\($0)") })
        #expect(screened.records.count == 8)
        #expect(screened.removed.isEmpty)
    }

    // MARK: service bindings

    private func https(_ parameters: [(UInt16, [UInt8])], priority: UInt16 = 1) -> DNSRecord {
        DNSRecord(
            name: .literal("a.example"), type: .https, ttl: 60,
            data: .service(
                ServiceBinding(
                    priority: priority, target: .root,
                    parameters: parameters.map { ServiceBinding.Parameter(key: $0.0, value: $0.1) })))
    }

    private let alpn: (UInt16, [UInt8]) = (1, [2, 0x68, 0x32])
    private let hints: (UInt16, [UInt8]) = (4, [10, 0, 0, 1, 203, 0, 113, 1])
    private let ech: (UInt16, [UInt8]) = (5, [0, 1, 2])

    @Test func hintsAreScreenedLikeAddressesAndECHGoes() {
        let hints6 = (
            6 as UInt16, IPAddress.literal("fd00::1").networkBytes + IPAddress.literal("2001:db8::1").networkBytes
        )
        let screened = screen([https([alpn, hints, ech, hints6, (7, [1]), (65280, [9])])], .https)
        #expect(
            screened.records == [
                https([alpn, (4, [203, 0, 113, 1]), (6, IPAddress.literal("2001:db8::1").networkBytes)])
            ])
        #expect(screened.addresses == [.literal("203.0.113.1"), .literal("2001:db8::1")])
        #expect(screened.removed == [.literal("10.0.0.1"), .literal("fd00::1")])
    }

    @Test func aHintWithoutAddressesGoes() {
        let screened = screen([https([alpn, (4, [10, 0, 0, 1])])], .https)
        #expect(screened.records == [https([alpn])])
        #expect(screened.addresses.isEmpty)
    }

    @Test func aRecordThatCallsMandatoryWhatHadToGoGoesWhole() {
        let screened = screen([https([(0, [0, 1, 0, 5]), alpn, hints, ech])], .https)
        #expect(screened.records.isEmpty)
        #expect(screened.addresses.isEmpty)
        let twin = https([(0, [0, 1]), alpn, (4, [203, 0, 113, 1])])
        #expect(screen([twin], .https).records == [twin])
    }

    @Test func anAliasStays() {
        let alias = https([], priority: 0)
        #expect(screen([alias], .https).records == [alias])
    }
}
