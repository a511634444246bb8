internal import CorralEvents

/// One question as it is put to a server outside, and the judge of what comes back.
struct UpstreamQuery: Sendable {
    enum Judgement: Sendable, Equatable {
        /// To exactly this question, or a refusal to read it at all.
        case answer(DNSMessage)
        /// To this question, and cut: ask by TCP.
        case truncated
        /// To this question but for the case of its letters: a server that changes it, or a forger who does not know it.
        case otherCase
        /// To this question, and broken.
        case garbled
        /// To something else.
        case stray
    }

    let id: UInt16
    /// With the name in random case, which makes the answer harder to forge (draft-vixie-dnsext-dns0x20).
    let question: DNSQuestion
    /// Nothing of the sandbox's own query but name and type: no options, no DO, no AD, no CD.
    let bytes: [UInt8]

    /// `payloadSize`: what EDNS offers; nil for a query without EDNS.
    init(_ question: DNSQuestion, payloadSize: UInt16?, using random: inout some RandomNumberGenerator) {
        id = UInt16.random(in: 0...UInt16.max, using: &random)
        self.question = DNSQuestion(
            name: question.name.recased(using: &random), type: question.type, questionClass: question.questionClass)
        var flags = DNSFlags()
        flags.recursionDesired = true
        bytes =
            DNSMessage(
                id: id, flags: flags, questions: [self.question], edns: payloadSize.map { EDNS(payloadSize: $0) }
            ).encoded()
    }

    func judge(_ bytes: [UInt8]) -> Judgement {
        var reader = DNSReader(bytes)
        guard let id = try? reader.uint16(), id == self.id, let raw = try? reader.uint16() else { return .stray }
        let flags = DNSFlags(rawValue: raw)
        guard flags.isResponse, flags.opcode == 0, let questions = try? reader.uint16() else { return .stray }
        if questions == 0 {
            // Servers that could not read the question do not repeat it.
            guard let message = try? DNSMessage(decoding: bytes), message.answers.isEmpty,
                [.formatError, .serverFailure, .notImplemented, .refused].contains(message.responseCode)
            else { return .stray }
            return .answer(message)
        }
        // Records that were cut in the middle are nobody's fault: the question first.
        guard questions == 1, (try? reader.octets(6)) != nil, let name = try? reader.name(), name == question.name,
            (try? reader.uint16()) == question.type.rawValue, (try? reader.uint16()) == question.questionClass
        else { return .stray }
        guard name.wire == question.name.wire else { return .otherCase }
        if flags.isTruncated { return .truncated }
        guard let message = try? DNSMessage(decoding: bytes) else { return .garbled }
        return .answer(message)
    }
}
