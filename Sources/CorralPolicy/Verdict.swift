/// What became of a packet or call. Raw values are the ones in events and the API.
public enum Verdict: String, Sendable, CaseIterable, Codable {
    case allow
    case deny
    /// `mode: audit`: it passed, and enforcement would have refused it.
    case wouldDeny = "would_deny"
}

/// Why. A closed list; raw values are the ones in events and the API.
public enum Reason: String, Sendable, CaseIterable, Codable {
    case allowedByRule = "allowed_by_rule"
    case noMatchingRule = "no_matching_rule"
    case deniedByRule = "denied_by_rule"
    case reservedAddress = "reserved_address"
    case portNotAllowed = "port_not_allowed"
    case protocolNotAllowed = "protocol_not_allowed"
    case nameNotAllowed = "name_not_allowed"
    case nameNotResolvedHere = "name_not_resolved_here"
    case limitExhausted = "limit_exhausted"
    case spoofedSource = "spoofed_source"
    case ipOptions = "ip_options"
    case extensionHeader = "extension_header"
    case fragment
    case notIP = "not_ip"
    case unsolicitedInbound = "unsolicited_inbound"
    case noPolicy = "no_policy"
    case syscallNotAllowed = "syscall_not_allowed"
    case foreignSocket = "foreign_socket"
    case pathNotAllowed = "path_not_allowed"
}

/// A transport a policy can name. Raw values are IANA protocol numbers; ICMP and ICMPv6 are one.
public enum IPProtocol: UInt8, Sendable, CaseIterable, Comparable {
    case icmp = 1
    case tcp = 6
    case udp = 17

    public static func < (a: IPProtocol, b: IPProtocol) -> Bool { a.rawValue < b.rawValue }
}

extension IPProtocol: CustomStringConvertible, LosslessStringConvertible {
    public init?(_ description: String) {
        guard let match = Self.allCases.first(where: { $0.description == description }) else { return nil }
        self = match
    }

    public var description: String {
        switch self {
        case .icmp: "icmp"
        case .tcp: "tcp"
        case .udp: "udp"
        }
    }
}

/// A rule by its place in the policy file, counted from 0: `egress.allow[0]`, `files.read.deny[0]`.
public enum RuleReference: Hashable, Sendable {
    case allow(Int)
    case deny(Int)
    /// `files.read.deny[0]`.
    case path(PathRuleReference)
}

extension RuleReference: CustomStringConvertible, LosslessStringConvertible {
    /// `egress.allow[0]`, `files.read.deny[0]`; nil for any other text.
    public init?(_ description: String) {
        guard description.hasSuffix("]"), let bracket = description.firstIndex(of: "["),
            let index = DecimalText.integer(description[description.index(after: bracket)...].dropLast()).flatMap({
                UInt32(exactly: $0)
            })
        else { return nil }
        switch description[..<bracket] {
        case "egress.allow": self = .allow(Int(index))
        case "egress.deny": self = .deny(Int(index))
        case let list:
            let words = list.split(separator: ".", omittingEmptySubsequences: false)
            guard words.count == 3, words[0] == "files", let access = FileAccess(rawValue: String(words[1])),
                words[2] == "allow" || words[2] == "deny"
            else { return nil }
            self = .path(PathRuleReference(access, isDeny: words[2] == "deny", index: Int(index)))
        }
    }

    public var description: String {
        switch self {
        case .allow(let index): "egress.allow[\(index)]"
        case .deny(let index): "egress.deny[\(index)]"
        case .path(let rule): "\(rule)"
        }
    }
}

/// One answer of a policy.
public struct Decision: Hashable, Sendable {
    public var verdict: Verdict
    public var reason: Reason
    /// The rule that decided; for `port_not_allowed` and `protocol_not_allowed`, the first that covers the address.
    public var rule: RuleReference?

    public init(_ verdict: Verdict, _ reason: Reason, rule: RuleReference? = nil) {
        self.verdict = verdict
        self.reason = reason
        self.rule = rule
    }
}
