internal import CorralPolicy

extension Traffic {
    /// One line that says what to change in the policy so that this passes, or why it never can. Nil when it was allowed.
    func adviceWhenRefused(
        rule: RuleReference?, direction: WireDecision.Direction, context: DecisionContext? = nil
    ) -> String? {
        guard verdict != .allow, reason != .allowedByRule else { return nil }
        var refusal = Refusal(reason: reason, rule: rule)
        refusal.isInbound = direction == .ingress
        refusal.address = remote?.ip
        refusal.name = remote?.name
        refusal.port = remote?.port
        refusal.proto = proto?.ofPolicies
        refusal.protoText = proto?.description
        if case .allow(let index)? = rule, let rules = context?.rules, rules.allow.indices.contains(index) {
            refusal.rulePorts = rules.allow[index].ports
        }
        if reason == .reservedAddress, let ip = remote?.ip {
            refusal.reservedRange = (context?.host ?? HostContext()).reservedRange(of: ip)
        }
        return refusal.hint
    }
}

extension TrafficProtocol {
    /// What a policy calls it; nil where it cannot.
    fileprivate var ofPolicies: IPProtocol? {
        switch self {
        case .tcp: .tcp
        case .udp: .udp
        // ICMPv6 is icmp to a policy.
        case .icmp, .ip(58): .icmp
        case .ip(let number): IPProtocol(rawValue: number)
        case .ethertype: nil
        }
    }
}
