@testable import CorralEngine
@testable import CorralEvents
@testable import CorralPolicy

enum ResolverTargets {
    private static let reserved = ["10.0.0.0/8", "127.0.0.0/8", "fc00::/7"].compactMap { IPPrefix($0) }

    private static func mayAnswer(_ address: IPAddress) -> Bool { !reserved.contains { $0.contains(address) } }

    /// A message of a name server.
    static let dns: Fuzz.Target = { bytes in
        guard let message = try? DNSMessage(decoding: bytes) else { return }
        let written = message.encoded()
        let again = try? DNSMessage(decoding: written)
        // Names that were compressed may grow past what one message holds.
        Fuzz.require(again == message || again?.flags.isTruncated == true, "what is read is written and read again")
        Fuzz.require(written.count <= DNSMessage.longest || message.questions.count > 1, "it fits")
        for question in message.questions.prefix(2) { _ = "\(question.name) \(question.type)" }
        guard let question = message.questions.first,
            let answer = try? AnswerScreen.follow(question, in: message, longestChain: 8, mostRecords: 64)
        else { return }
        let screened = AnswerScreen.screen(
            answer.records, for: question.type, mostAddresses: 16, mayAnswer: mayAnswer)
        let given = screened.records.flatMap(\.addresses)
        Fuzz.require(given.allSatisfy(mayAnswer), "no reserved address leaves")
        Fuzz.require(Set(given) == Set(screened.addresses), "each address that leaves is opened")
        Fuzz.require(screened.addresses.count <= 16, "no more addresses than permitted")
        var reply = DNSMessage(id: message.id, flags: message.flags, questions: [question])
        reply.answers = screened.records
        for limit in [512, DNSMessage.longest] {
            let bytes = reply.encoded(limit: limit)
            Fuzz.require(bytes.count <= limit, "an answer keeps its limit")
            Fuzz.require((try? DNSMessage(decoding: bytes)) != nil, "an answer is well formed")
        }
    }

    /// A datagram or frame of a sandbox.
    static let query: Fuzz.Target = { bytes in
        for transport in [NameQuery.Transport.udp, .tcp] {
            switch QueryGuard.judge(bytes, transport: transport) {
            case .drop: continue
            case .malformed(let reply):
                Fuzz.require((try? DNSMessage(decoding: reply.encoded())) == reply, "a refusal is well formed")
            case .badVersion(let query), .refused(let query), .query(let query):
                let reply = query.reply(.refused, payloadSize: 1232)
                let limit = query.answerLimit(payloadSize: 1232)
                let bytes = reply.encoded(limit: limit)
                Fuzz.require(bytes.count <= limit, "an answer keeps its limit")
                let again = try? DNSMessage(decoding: bytes)
                Fuzz.require(again?.id == query.id && again?.questions == [query.question], "it repeats the question")
                let name = query.question.name
                if name.isPlain { Fuzz.require(DNSName(name.description) == name, "a plain name has one text") }
                var random = SystemRandomNumberGenerator()
                Fuzz.require(name.recased(using: &random) == name && name.folded == name, "case means nothing")
            }
        }
    }
}
