import CorralEvents
import Testing

@testable import CorralEngine

@Suite struct QueryGuardTests {
    private func reply(_ outcome: QueryGuard.Outcome) -> DNSResponseCode? {
        if case .malformed(let message) = outcome { return message.responseCode }
        return nil
    }

    private func edited(_ edit: (inout DNSMessage) -> Void) throws -> [UInt8] {
        var message = try DNSMessage(decoding: query("api.example.com"))
        edit(&message)
        return message.encoded()
    }

    @Test func aPlainQuestionPasses() {
        guard case .query(let found) = QueryGuard.judge(query("Api.example.com"), transport: .udp) else {
            Issue.record("not taken for a query")
            return
        }
        #expect(found.id == 0x1234)
        #expect(found.question.name.wire == DNSName.literal("Api.example.com").wire)
        #expect(found.edns == nil)
    }

    @Test func whatIsNoQueryIsDropped() throws {
        guard case .drop = QueryGuard.judge([UInt8](repeating: 0, count: 11), transport: .udp) else {
            Issue.record("11 octets were answered")
            return
        }
        guard case .drop = QueryGuard.judge(try edited { $0.flags.isResponse = true }, transport: .udp) else {
            Issue.record("an answer was answered")
            return
        }
    }

    @Test(arguments: 1...15 as ClosedRange<UInt8>)
    func otherOpcodesAreNotImplemented(opcode: UInt8) throws {
        let outcome = QueryGuard.judge(try edited { $0.flags.opcode = opcode }, transport: .udp)
        #expect(reply(outcome) == .notImplemented)
        guard case .malformed(let message) = outcome else { return }
        #expect(message.id == 0x1234 && message.flags.opcode == opcode && message.questions.isEmpty)
    }

    @Test func oneQuestionAndNothingBesideIt() throws {
        let extra = DNSRecord.a("x.example", "203.0.113.1")
        for bytes in [
            try edited { $0.questions = [] }, try edited { $0.questions += $0.questions },
            try edited { $0.answers = [extra] }, try edited { $0.authorities = [extra] },
            try edited { $0.additionals = [extra] }, query("api.example.com") + [0],
            Array(query("api.example.com").dropLast()),
        ] {
            #expect(reply(QueryGuard.judge(bytes, transport: .udp)) == .formatError)
        }
    }

    @Test(arguments: [
        DNSRecordType.any, .axfr, .ixfr, .opt, .dname, DNSRecordType(rawValue: 0), DNSRecordType(rawValue: 48),
        DNSRecordType(rawValue: 10), DNSRecordType(rawValue: 253), DNSRecordType(rawValue: 65535),
    ])
    func typesThatNoProgramNeedsAreRefused(type: DNSRecordType) {
        guard case .refused = QueryGuard.judge(query("api.example.com", type), transport: .udp) else {
            Issue.record("\(type) passed")
            return
        }
    }

    @Test(arguments: [.a, .aaaa, .https, .svcb, .srv, .txt, .mx, .ptr] as [DNSRecordType])
    func typesThatProgramsNeedPass(type: DNSRecordType) {
        guard case .query = QueryGuard.judge(query("api.example.com", type), transport: .udp) else {
            Issue.record("\(type) was refused")
            return
        }
    }

    @Test(arguments: [0, 2, 3, 4, 254, 255, 65535] as [UInt16])
    func otherClassesAreRefused(number: UInt16) {
        guard case .refused = QueryGuard.judge(query("api.example.com", class: number), transport: .udp) else {
            Issue.record("class \(number) passed")
            return
        }
    }

    @Test func anUnknownVersionOfEDNSIsTold() throws {
        let bytes = query("api.example.com", edns: EDNS(payloadSize: 4096, version: 1))
        guard case .badVersion(let found) = QueryGuard.judge(bytes, transport: .udp) else {
            Issue.record("version 1 passed")
            return
        }
        let reply = try DNSMessage(decoding: found.reply(.badVersion, payloadSize: 1232).encoded())
        #expect(reply.responseCode == .badVersion)
        #expect(reply.edns == EDNS(payloadSize: 1232, version: 0, extendedCode: 1))
        #expect(reply.flags.responseCode == 0)
    }

    @Test(
        arguments: [
            (nil, 512), (0, 512), (511, 512), (512, 512), (1000, 1000), (1232, 1232), (4096, 1232), (65535, 1232),
        ] as [(UInt16?, Int)])
    func aDatagramIsNoLargerThanBothSidesTake(offered: UInt16?, limit: Int) {
        let bytes = query("api.example.com", edns: offered.map { EDNS(payloadSize: $0) })
        guard case .query(let found) = QueryGuard.judge(bytes, transport: .udp),
            case .query(let stream) = QueryGuard.judge(bytes, transport: .tcp)
        else {
            Issue.record("refused")
            return
        }
        #expect(found.answerLimit(payloadSize: 1232) == limit)
        #expect(stream.answerLimit(payloadSize: 1232) == 65535)
    }

    @Test func flagsAreReturnedAsTheStandardAsks() throws {
        let bytes = try edited {
            $0.flags.checkingDisabled = true
            // AD, and the reserved bit.
            $0.flags.rawValue |= 0x0060
        }
        guard case .query(let found) = QueryGuard.judge(bytes, transport: .udp) else {
            Issue.record("refused")
            return
        }
        let flags = found.reply(.refused, payloadSize: 1232).flags
        // QR, RD, RA, CD, REFUSED.
        #expect(flags.rawValue == 0x8000 | 0x0100 | 0x0080 | 0x0010 | 5)
    }
}
