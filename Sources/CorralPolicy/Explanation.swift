/// What a policy says of one endpoint, and why.
public struct Explanation: Sendable, Equatable, CustomStringConvertible {
    public var endpoint: Endpoint
    public var decision: Decision
    /// `mode: audit`: it would pass all the same.
    public var audits: Bool
    /// `web.yaml:7`, of the rule that decided.
    public var place: String?
    public var hint: String?
    /// What the answer rests on beside the policy.
    public var note: String?

    public var description: String {
        var verdict = decision.verdict == .allow ? "allow" : audits ? "would_deny" : "deny"
        verdict += "  \(endpoint)  \(decision.reason.rawValue)"
        var lines = [verdict]
        if let rule = decision.rule { lines.append("rule: \(rule)" + (place.map { " (\($0))" } ?? "")) }
        if let hint { lines.append("hint: \(hint)") }
        if let note { lines.append("note: \(note)") }
        return lines.joined(separator: "\n")
    }
}

extension Policy {
    public func explain(_ endpoint: Endpoint, host: HostContext) -> Explanation {
        switch endpoint {
        case .address(let destination): explain(destination, host: host)
        case .name(let destination): explain(destination)
        case .path(let access, let path): explain(access, path)
        }
    }

    private func explain(_ access: FileAccess, _ path: String) -> Explanation {
        let decision = decide(access, path)
        var explanation = explanation(.path(access, path), decision)
        if decision.verdict != .allow {
            explanation.hint = hint(for: decision, access, path)
        } else if decision.rule == nil {
            explanation.note = "no rule of files.\(access.rawValue) covers it, and it allows what none covers"
        }
        return explanation
    }

    func hint(for decision: Decision, _ access: FileAccess, _ path: String) -> String {
        var refusal = PathRefusal(access, reason: decision.reason, path: path)
        if case .path(let rule)? = decision.rule { refusal.rule = rule }
        return refusal.hint
    }

    private func explain(_ destination: Destination, host: HostContext) -> Explanation {
        let decision = decide(destination, host: host)
        var explanation = explanation(.address(destination), decision)
        if decision.verdict != .allow {
            explanation.hint = hint(for: decision, destination: destination, host: host)
        }
        if decision.verdict == .allow && decision.rule == nil {
            explanation.note = "port 53 of every address is corrald's resolver, which answers for permitted names"
        } else if decision.reason == .noMatchingRule, allow.contains(where: { $0.names != nil }) {
            explanation.note = "it passes while a name that egress.allow permits resolves to this address"
        }
        return explanation
    }

    private func explain(_ destination: NamedDestination) -> Explanation {
        let decision = decide(destination)
        var explanation = explanation(.name(destination), decision)
        if decision.verdict == .allow {
            explanation.note =
                "of the addresses that it resolves to, those that are reserved or private or that egress.deny refuses stay "
                + "refused"
        } else {
            explanation.hint = hint(for: decision, destination: destination)
        }
        return explanation
    }

    private func explanation(_ endpoint: Endpoint, _ decision: Decision) -> Explanation {
        Explanation(endpoint: endpoint, decision: decision, audits: mode == .audit, place: place(of: decision.rule))
    }

    /// `web.yaml:7`; nil where the rule comes from no file.
    func place(of rule: RuleReference?) -> String? {
        let line: Int? =
            switch rule {
            case .allow(let index)?: allow[index].line
            case .deny(let index)?: deny[index].line
            case .path(let rule)?: files.rules[rule]?.line
            case nil: nil
            }
        return line.flatMap { $0 > 0 ? "\(file):\($0)" : nil }
    }

    /// One line on what to change so that this passes, or why nothing can be.
    public func hint(for decision: Decision, destination: Destination, host: HostContext) -> String {
        var refusal = refusal(decision)
        refusal.address = destination.address
        refusal.proto = destination.proto
        refusal.protoText = destination.proto.description
        if destination.proto != .icmp { refusal.port = destination.port }
        refusal.reservedRange = host.reservedRange(of: destination.address)
        return refusal.hint
    }

    /// The same for something that is reached by name.
    func hint(for decision: Decision, destination: NamedDestination) -> String {
        var refusal = refusal(decision)
        refusal.name = destination.name
        refusal.proto = destination.proto
        refusal.protoText = destination.proto.description
        refusal.port = destination.port
        return refusal.hint
    }

    private func refusal(_ decision: Decision) -> Refusal {
        var refusal = Refusal(reason: decision.reason, rule: decision.rule)
        if decision.reason == .portNotAllowed, case .allow(let index)? = decision.rule {
            refusal.rulePorts = allow[index].ports
        }
        return refusal
    }

    /// One line for `corral policy validate`.
    public var summary: String {
        "policy \(name): mode \(mode.rawValue), \(allow.count) allow and \(deny.count) deny rules"
    }
}
