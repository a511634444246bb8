internal import CorralEvents
internal import CorralPolicy

/// One line for a person or a model on why a name was not resolved.
enum DNSHint {
    /// A budget that is exhausted.
    enum Limit: Sendable, Equatable {
        /// Queries a second.
        case rate(Double)
        /// `egress.limits.dnsQueries`.
        case queries(UInt64)
        case nameOctets
        case outstanding

        var hint: String {
            switch self {
            case .rate(let rate):
                "the sandbox asks faster than \(Int(rate)) queries a second; slow down, or keep answers for their time"
            case .queries(let count):
                "the \(count) queries of egress.limits.dnsQueries are used up; raise that limit"
            case .nameOctets:
                "the sandbox asks for new names faster than any program needs, as a tunnel through DNS does; use fewer names"
            case .outstanding:
                "too many queries of the sandbox wait for an answer; ask again when some are answered"
            }
        }
    }

    static let noServer = "no name server gave a usable answer; the policy permits the name"

    static func notPinned(_ error: String) -> String {
        "the answer was withheld because its addresses could not be opened: \(error)"
    }

    static func refused(_ name: DNSName, _ reason: Reason, _ rule: RuleReference?) -> String {
        let text = name.folded.description
        guard name.isPlain else {
            return "\(text) holds what no host name does; no policy can permit it"
        }
        if reason == .deniedByRule {
            return
                "\(rule?.description ?? "a rule of egress.deny") refuses \(text), and deny beats allow; remove or narrow "
                + "that rule to permit it"
        }
        return "no rule of egress.allow names \(text); to permit it add { domain: \(text), ports: [443] }"
    }

    static func neverAnswered(_ question: DNSQuestion) -> String {
        guard question.questionClass == DNSRecord.internet else {
            return "only questions of class IN are answered, not of class \(question.questionClass)"
        }
        return "questions of type \(question.type) are never answered; ask for A or AAAA"
    }

    static func onlyReserved(_ name: DNSName, _ removed: [IPAddress]) -> String {
        let list = removed.prefix(3).map(\.description).joined(separator: ", ") + (removed.count > 3 ? ", …" : "")
        return
            "\(name.folded) stands for reserved or private addresses alone (\(list)), which no name opens; to permit "
            + "them add a rule with their cidr"
    }
}
