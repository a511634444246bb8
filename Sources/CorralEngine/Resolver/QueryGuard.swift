internal import CorralEvents

/// A query that a sandbox sent, and all that its answer must know of it.
struct ClientQuery: Sendable {
    var id: UInt16
    var flags: DNSFlags
    /// With the name in the case in which it was asked.
    var question: DNSQuestion
    var edns: EDNS?
    var transport: NameQuery.Transport

    /// An answer to it, without records.
    func reply(_ code: DNSResponseCode, payloadSize: UInt16) -> DNSMessage {
        var reply = DNSMessage(id: id, flags: QueryGuard.replyFlags(to: flags), questions: [question])
        if edns != nil { reply.edns = EDNS(payloadSize: payloadSize) }
        reply.responseCode = code
        return reply
    }

    /// Octets that an answer may have. A datagram of 512 is taken by everybody (RFC 1035, section 4.2.1).
    func answerLimit(payloadSize: UInt16) -> Int {
        switch transport {
        case .tcp: DNSMessage.longest
        case .udp: max(512, Int(min(edns?.payloadSize ?? 512, payloadSize)))
        }
    }
}

/// Tells queries that are worth a decision from the rest.
enum QueryGuard {
    enum Outcome: Sendable {
        /// Nothing that can be answered, or no question at all (a reflected answer, which must not be answered).
        case drop
        /// Answered with a header alone.
        case malformed(DNSMessage)
        case badVersion(ClientQuery)
        /// A question that is never answered.
        case refused(ClientQuery)
        case query(ClientQuery)
    }

    /// What a program needs in order to connect, and what describes a service. Types that ask for everything (ANY, AXFR, IXFR),
    /// that belong to DNSSEC (sandboxes get none) or that nobody knows are refused.
    static let types: Set<DNSRecordType> = [
        .a, .aaaa, .caa, .cname, .https, .mx, .naptr, .ns, .ptr, .soa, .srv, .sshfp, .svcb, .tlsa, .txt,
    ]

    static func judge(_ bytes: [UInt8], transport: NameQuery.Transport) -> Outcome {
        guard bytes.count >= DNSReader.headerSize else { return .drop }
        let id = UInt16(bytes[0]) << 8 | UInt16(bytes[1])
        let flags = DNSFlags(rawValue: UInt16(bytes[2]) << 8 | UInt16(bytes[3]))
        guard !flags.isResponse else { return .drop }
        guard flags.opcode == 0 else { return .malformed(header(id, flags, .notImplemented)) }
        // One question (RFC 9619), and nothing beside it but OPT.
        guard let message = try? DNSMessage(decoding: bytes), message.questions.count == 1,
            let question = message.questions.first, message.answers.isEmpty, message.authorities.isEmpty,
            message.additionals.isEmpty
        else { return .malformed(header(id, flags, .formatError)) }
        let query = ClientQuery(id: id, flags: flags, question: question, edns: message.edns, transport: transport)
        if let edns = message.edns, edns.version != 0 { return .badVersion(query) }
        guard question.questionClass == DNSRecord.internet, types.contains(question.type) else {
            return .refused(query)
        }
        return .query(query)
    }

    private static func header(_ id: UInt16, _ flags: DNSFlags, _ code: DNSResponseCode) -> DNSMessage {
        var message = DNSMessage(id: id, flags: replyFlags(to: flags))
        message.responseCode = code
        return message
    }

    /// Opcode, RD and CD are returned as they came (RFC 1035, section 4.1.1; RFC 4035, section 3.2.2); AD is never set.
    static func replyFlags(to query: DNSFlags) -> DNSFlags {
        var flags = DNSFlags()
        flags.isResponse = true
        flags.opcode = query.opcode
        flags.recursionDesired = query.recursionDesired
        flags.recursionAvailable = true
        flags.checkingDisabled = query.checkingDisabled
        return flags
    }
}
