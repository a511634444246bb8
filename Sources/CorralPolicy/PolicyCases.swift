/// What a policy should say, written down beside it: the unit tests of a policy.
public struct PolicyCases: Sendable, Equatable {
    public struct Case: Sendable, Equatable {
        public var endpoint: Endpoint
        /// `allow` or `deny`; what `mode: audit` lets pass is a denial here.
        public var expected: Verdict
        public var reason: Reason?
        public var rule: RuleReference?
        /// What name servers answer when the endpoint is a name; empty for addresses that the policy says nothing of.
        public var addresses: [IPAddress]
        /// In the file of cases, from 1.
        public var line: Int
    }

    public struct Outcome: Sendable, Equatable {
        public var tested: Case
        /// Which address of a name it speaks of; nil where the name alone decides.
        public var address: IPAddress?
        /// The first decision that is not as expected, else the last.
        public var found: Decision
        /// `web.yaml:7`, of the rule that was found.
        public var place: String?
        public var passes: Bool
        /// Why it was found, where it was a denial that was not expected.
        public var hint: String?
    }

    public var cases: [Case]
    public var file: String

    /// Reads a list of cases; at least one.
    public init(yaml: String, file: String) throws(PolicyError) {
        var reader = FieldReader(file: file)
        var cases: [Case] = []
        if let root = reader.read(yaml, "a list of cases"), let nodes = reader.sequence(root, "") {
            if nodes.isEmpty { reader.note(root, "", "is an empty list", "at least one case") }
            for (index, node) in nodes.enumerated() {
                if let read = reader.policyCase(node, "[\(index)]") { cases.append(read) }
            }
        }
        try reader.finish()
        self.cases = cases
        self.file = file
    }

    /// One outcome a case, in order.
    public func run(on policy: Policy, host: HostContext) -> [Outcome] {
        cases.map { tested in
            let decisions: [(address: IPAddress?, decision: Decision)]
            switch tested.endpoint {
            case .address(let destination): decisions = [(nil, policy.decide(destination, host: host))]
            case .name(let destination):
                decisions = policy.decide(destination, addresses: tested.addresses, host: host)
            case .path(let access, let path): decisions = [(nil, policy.decide(access, path))]
            }
            func passes(_ decision: Decision) -> Bool {
                decision.verdict == tested.expected && (tested.reason == nil || decision.reason == tested.reason)
                    && (tested.rule == nil || decision.rule == tested.rule)
            }
            let failure = decisions.first { !passes($0.decision) }
            let told = failure ?? decisions.last ?? (nil, Decision(.deny, .noPolicy))
            var outcome = Outcome(
                tested: tested, address: told.address, found: told.decision,
                place: policy.place(of: told.decision.rule),
                passes: failure == nil)
            if failure != nil && told.decision.verdict != .allow {
                outcome.hint = Self.hint(told, tested.endpoint, policy, host)
            }
            return outcome
        }
    }

    private static func hint(
        _ told: (address: IPAddress?, decision: Decision), _ endpoint: Endpoint, _ policy: Policy, _ host: HostContext
    ) -> String {
        switch endpoint {
        case .address(let destination): return policy.hint(for: told.decision, destination: destination, host: host)
        case .name(let named):
            guard let address = told.address else { return policy.hint(for: told.decision, destination: named) }
            let destination = Destination(address: address, proto: named.proto, port: named.port ?? 0)
            return policy.hint(for: told.decision, destination: destination, host: host)
        case .path(let access, let path): return policy.hint(for: told.decision, access, path)
        }
    }
}

extension PolicyCases.Outcome: CustomStringConvertible {
    /// `203.0.113.9:443/tcp: allow, allowed_by_rule by egress.allow[0] (web.yaml:7)`, behind what was expected where it was
    /// not found.
    public var description: String {
        var text = "\(tested.endpoint)"
        if let address { text += " at \(address)" }
        if !passes {
            text += ": expected \(tested.expected.rawValue)"
            if let reason = tested.reason { text += ", \(reason.rawValue)" }
            if let rule = tested.rule { text += " by \(rule)" }
            text += "; found"
        } else {
            text += ":"
        }
        text += " \(found.verdict.rawValue), \(found.reason.rawValue)"
        if let rule = found.rule { text += " by \(rule)" + (place.map { " (\($0))" } ?? "") }
        return text
    }
}

/// The fields of a case.
extension FieldReader {
    /// Those that a policy's own answer can have.
    private static let reasons: [Reason] = [
        .allowedByRule, .noMatchingRule, .deniedByRule, .reservedAddress, .portNotAllowed, .protocolNotAllowed,
        .nameNotAllowed, .pathNotAllowed,
    ]

    fileprivate mutating func policyCase(_ node: YamlNode, _ field: String) -> PolicyCases.Case? {
        guard let fields = mapping(node, field) else { return nil }
        var endpoint: Endpoint?
        var expected: Verdict?
        var reason: Reason?
        var rule: RuleReference?
        var addresses: [IPAddress] = []
        for entry in fields {
            let (value, parent, field) = (entry.value, field, "\(field).\(entry.key)")
            switch entry.key {
            case "to":
                guard let text = string(value, field, "a destination, like 203.0.113.9:443/tcp") else { break }
                do throws(Endpoint.ParseError) {
                    endpoint = try Endpoint.parse(text)
                } catch {
                    note(
                        value, field, error.message,
                        "a destination, like 203.0.113.9:443/tcp or api.example.com:443, or a path, like read:/etc/shadow"
                    )
                }
            case "expect":
                guard let text = string(value, field, "allow or deny") else { break }
                expected = ["allow": Verdict.allow, "deny": .deny][text]
                if expected == nil { note(value, field, "\(quoted(text)) is no answer", "allow or deny") }
            case "reason":
                let known = Self.reasons.map(\.rawValue).joined(separator: ", ")
                guard let text = string(value, field, known) else { break }
                reason = Self.reasons.first { $0.rawValue == text }
                if reason == nil { note(value, field, "\(quoted(text)) is no reason of a policy", known) }
            case "rule":
                guard let text = string(value, field, "egress.allow[0]") else { break }
                rule = RuleReference(text)
                if rule == nil {
                    note(
                        value, field, "\(quoted(text)) is no rule", "a rule, like egress.allow[0] or files.read.deny[0]"
                    )
                }
            case "resolves_to":
                for (index, item) in (sequence(value, field) ?? []).enumerated() {
                    guard let text = string(item, "\(field)[\(index)]", "an address") else { continue }
                    if let address = IPAddress(text) {
                        addresses.append(address)
                    } else {
                        note(
                            item, "\(field)[\(index)]", "\(quoted(text)) is no address", "an address, like 203.0.113.9")
                    }
                }
            default: unknown(entry.key, value, parent, ["to", "expect", "reason", "rule", "resolves_to"])
            }
        }
        if !fields.contains(where: { $0.key == "to" }) { note(node, "\(field).to", "is missing", "a destination") }
        if !fields.contains(where: { $0.key == "expect" }) {
            note(node, "\(field).expect", "is missing", "allow or deny")
        }
        guard let endpoint, let expected else { return nil }
        switch endpoint {
        case .address where !addresses.isEmpty:
            note(node, "\(field).resolves_to", "stands beside an address", "a name in to")
        case .path where !addresses.isEmpty:
            note(node, "\(field).resolves_to", "stands beside a path", "a name in to")
        case .address, .name, .path: break
        }
        if let reason, (reason == .allowedByRule) != (expected == .allow) {
            note(node, "\(field).reason", "\(reason.rawValue) is no reason to \(expected.rawValue)", nil)
        }
        return PolicyCases.Case(
            endpoint: endpoint, expected: expected, reason: reason, rule: rule, addresses: addresses,
            line: node.place.line)
    }
}
