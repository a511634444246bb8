import CorralEvents
import CorralPolicy
import Testing

@testable import CorralEngine

@Suite struct DNSMessageTests {
    private static func bytes(_ hexadecimal: String) -> [UInt8] {
        let digits = hexadecimal.filter(\.isHexDigit).compactMap { $0.hexDigitValue }
        return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
    }

    /// Header with counts of (questions, answers, authorities, additionals), then `body`.
    private static func message(_ counts: [UInt8], _ body: [UInt8]) -> [UInt8] {
        [0x12, 0x34, 0x01, 0x00] + counts.flatMap { [0, $0] } + body
    }

    @Test func aQueryIsTheOctetsOfTheStandard() {
        // RFC 1035, section 4.1: id, RD, one question, and OPT with a size of 1232 octets.
        let expected = Self.bytes(
            """
            1234 0100 0001 0000 0000 0001
            03 617069 07 6578616d706c65 03 636f6d 00 0001 0001
            00 0029 04d0 00 00 0000 0000
            """)
        #expect(query("api.example.com", edns: EDNS(payloadSize: 1232)) == expected)
    }

    @Test func namesAreCompressedAndReadBack() throws {
        let bytes = Self.message(
            [1, 2, 0, 0],
            Self.bytes(
                """
                03 777777 07 6578616d706c65 03 636f6d 00 0001 0001
                c00c 0005 0001 0000012c 0006 03 63646e c010
                c02d 0001 0001 0000003c 0004 cb007107
                """))
        let message = try DNSMessage(decoding: bytes)
        #expect(
            message.answers == [
                .cname("www.example.com", "cdn.example.com"), .a("cdn.example.com", "203.0.113.7", ttl: 60),
            ])
        #expect(message.encoded() == bytes)
    }

    private static var everyType: DNSMessage {
        let name = DNSName.literal("a.example")
        func record(_ type: DNSRecordType, _ data: DNSRecordData) -> DNSRecord {
            DNSRecord(name: name, type: type, ttl: 7, data: data)
        }
        let parameters = [
            ServiceBinding.Parameter(key: 1, value: [2, 0x68, 0x32]),
            ServiceBinding.Parameter(key: 4, value: [203, 0, 113, 7, 10, 0, 0, 1]),
            ServiceBinding.Parameter(key: 5, value: [1, 2, 3]),
            ServiceBinding.Parameter(key: 6, value: IPAddress.literal("2001:db8::1").networkBytes),
        ]
        return DNSMessage(
            id: 0xffff, flags: DNSFlags(rawValue: 0x8180), questions: [DNSQuestion(name: name, type: .any)],
            answers: [
                .a("a.example", "203.0.113.7"), .aaaa("b.a.example", "2001:db8::7"),
                .aaaa("a.example", "::ffff:10.0.0.1"), .cname("c.example", "x.a.example"),
                record(.ns, .name(.literal("ns.a.example"))), record(.ptr, .name(.literal("p.example"))),
                record(.mx, .prefixedName([0, 10], .literal("mx.a.example"), compressed: true)),
                record(.srv, .prefixedName([0, 1, 0, 2, 1, 187], .literal("srv.a.example"), compressed: false)),
                record(
                    .naptr,
                    .prefixedName([0, 1, 0, 2, 1, 0x75, 0, 2, 0x61, 0x62], .literal("n.example"), compressed: false)),
                record(.txt, .opaque([5, 1, 2, 3, 4, 5])), record(DNSRecordType(rawValue: 65280), .opaque([])),
                record(
                    .https,
                    .service(ServiceBinding(priority: 1, target: .literal("svc.a.example"), parameters: parameters))),
                record(.svcb, .service(ServiceBinding(priority: 0, target: .root, parameters: []))),
            ],
            authorities: [.soa("example")], additionals: [.a("ns.a.example", "203.0.113.1", ttl: 1)],
            edns: EDNS(payloadSize: 4096, version: 1, extendedCode: 2))
    }

    @Test func everyTypeIsReadBackAsItWasWritten() throws {
        #expect(try DNSMessage(decoding: Self.everyType.encoded()) == Self.everyType)
    }

    @Test func everyCutIsRefused() {
        let bytes = Self.everyType.encoded()
        for count in 0..<bytes.count {
            #expect(throws: DNSError.self) { try DNSMessage(decoding: Array(bytes[..<count])) }
        }
        #expect(throws: DNSError.trailing) { try DNSMessage(decoding: bytes + [0]) }
    }

    @Test(arguments: [
        // Into itself, forwards, into the header, to the pointer's own name.
        ("c00c 0001 0001", DNSError.pointer), ("c00e 0001 0001 00", .pointer), ("c000 0001 0001", .pointer),
        ("01 61 c00c 0001 0001", .pointer),
        ("41 61 00 0001 0001", .labelType), ("80 61 00 0001 0001", .labelType), ("05 61 62", .truncated),
        ("c0", .truncated), ("01 61 00 0001 00", .truncated),
    ])
    func aBrokenQuestionIsRefused(body: String, error: DNSError) {
        #expect(throws: error) { try DNSMessage(decoding: Self.message([1, 0, 0, 0], Self.bytes(body))) }
    }

    @Test func twoNamesThatPointAtEachOtherAreRefused() {
        // The second question at 18 points to the first at 12, whose second part would be the pointer at 18.
        let bytes = Self.message([2, 0, 0, 0], Self.bytes("01 61 c012 0001 0001 c00c 0001 0001"))
        #expect(throws: DNSError.pointer) { try DNSMessage(decoding: bytes) }
    }

    @Test func aPointerMayLeadToAPointerButNotForEver() throws {
        /// Questions of which each but the first is a pointer to the one before.
        func chain(_ count: Int) -> [UInt8] {
            var body = Self.bytes("01 61 00 0001 0001")
            for index in 0..<count {
                let target = index == 0 ? 12 : 12 + 7 + (index - 1) * 6
                body += [0xc0 | UInt8(target >> 8), UInt8(target & 0xff), 0, 1, 0, 1]
            }
            return [0x12, 0x34, 1, 0, 0, UInt8(count + 1), 0, 0, 0, 0, 0, 0] + body
        }
        #expect(try DNSMessage(decoding: chain(127)).questions.allSatisfy { $0.name == DNSName.literal("a") })
        #expect(throws: DNSError.pointer) { try DNSMessage(decoding: chain(128)) }
    }

    private static func label(_ size: Int) -> [UInt8] {
        [UInt8(size)] + [UInt8](repeating: 0x61, count: size)
    }

    @Test func aNameOf255OctetsIsTakenAndOneMoreIsNot() throws {
        // Three labels of 63, one of `last`: 3 * 64 + 1 + last + 1.
        func question(last: Int) -> [UInt8] {
            let labels = [63, 63, 63, last].reduce(into: [UInt8]()) { $0 += Self.label($1) }
            return Self.message([1, 0, 0, 0], labels + [0, 0, 1, 0, 1])
        }
        let longest = try DNSMessage(decoding: question(last: 61))
        #expect(longest.questions.first?.name.wire.count == 255)
        #expect(throws: DNSError.nameTooLong) { try DNSMessage(decoding: question(last: 62)) }
    }

    @Test func aNameGrownByPointersIsBoundedAsWell() throws {
        // 12: three labels of 63 and the root; then one label of `size` and a pointer to it.
        func questions(_ size: Int) -> [UInt8] {
            let long = Self.label(63) + Self.label(63) + Self.label(63) + [0, 0, 1, 0, 1]
            let short = Self.label(size) + [0xc0, 0x0c, 0, 1, 0, 1]
            return Self.message([2, 0, 0, 0], long + short)
        }
        #expect(try DNSMessage(decoding: questions(61)).questions.last?.name.wire.count == 255)
        #expect(throws: DNSError.nameTooLong) { try DNSMessage(decoding: questions(62)) }
    }

    @Test(arguments: [
        // A of 3 octets, AAAA of 4, CNAME with an octet behind its name, SVCB with keys that do not rise, a hint of 5 octets.
        ("0001", "03 cb0071"), ("001c", "04 cb007107"), ("0005", "03 01 61 00 ff"),
        ("0040", "0b 0001 00 0002 0000 0001 0000"), ("0040", "0c 0001 00 0004 0005 0102030405"),
    ])
    func recordsOfAnotherShapeThanTheirTypeAreRefused(type: String, data: String) {
        let body = Self.bytes("00 \(type) 0001 00000000 00 \(data)")
        #expect(throws: DNSError.self) { try DNSMessage(decoding: Self.message([0, 1, 0, 0], body)) }
    }

    @Test func aSecondOPTOrOneOffTheRootIsRefused() throws {
        let opt = Self.bytes("00 0029 04d0 00 00 0000 0000")
        #expect(try DNSMessage(decoding: Self.message([0, 0, 0, 1], opt)).edns == EDNS(payloadSize: 1232))
        #expect(throws: DNSError.edns) { try DNSMessage(decoding: Self.message([0, 0, 0, 2], opt + opt)) }
        #expect(throws: DNSError.edns) {
            try DNSMessage(decoding: Self.message([0, 0, 0, 1], Self.bytes("01 61") + opt))
        }
    }

    @Test func optionsAreReadForTheirShapeAndNeverWritten() throws {
        let subnet = Self.bytes("00 0029 04d0 00 00 8000 000b 0008 0007 0001 1800 cb0071")
        let message = try DNSMessage(decoding: Self.message([0, 0, 0, 1], subnet))
        #expect(message.edns == EDNS(payloadSize: 1232))
        #expect(message.encoded() == Self.message([0, 0, 0, 1], Self.bytes("00 0029 04d0 00 00 0000 0000")))
        let broken = Self.bytes("00 0029 04d0 00 00 0000 0005 0008 0007 00")
        #expect(throws: DNSError.truncated) { try DNSMessage(decoding: Self.message([0, 0, 0, 1], broken)) }
    }

    @Test func whatDoesNotFitIsCutToTheQuestion() throws {
        var message = Self.everyType
        message.answers = (0..<40).map { .a("h\($0).a.example", "203.0.113.\($0)") }
        let cut = try DNSMessage(decoding: message.encoded(limit: 512))
        #expect(cut.flags.isTruncated)
        #expect(cut.answers.isEmpty && cut.authorities.isEmpty && cut.additionals.isEmpty)
        #expect(cut.questions == message.questions && cut.edns == message.edns && cut.id == message.id)
        let whole = try DNSMessage(decoding: message.encoded(limit: message.encoded().count))
        #expect(whole == message)
    }

    @Test func aTTLWithItsTopBitSetIsZero() throws {
        let body = Self.bytes("00 0001 0001 80000000 0004 cb007107")
        #expect(try DNSMessage(decoding: Self.message([0, 1, 0, 0], body)).answers.first?.ttl == 0)
        let largest = Self.bytes("00 0001 0001 7fffffff 0004 cb007107")
        #expect(try DNSMessage(decoding: Self.message([0, 1, 0, 0], largest)).answers.first?.ttl == UInt32(Int32.max))
    }
}
