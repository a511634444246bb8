extension Policy {
    /// What becomes of somebody who asks for a name and goes where it leads.
    /// - Parameter addresses: what name servers answer; none stands for addresses that no rule on addresses speaks of.
    /// - Returns: one decision for each address, or a single one where the name alone decides.
    public func decide(
        _ destination: NamedDestination, addresses: [IPAddress], host: HostContext
    ) -> [(address: IPAddress?, decision: Decision)] {
        guard case .allowed(let rules, _) = names.decide(destination.name), !addresses.isEmpty else {
            return [(nil, decide(destination))]
        }
        return addresses.map { address in
            guard mayAnswer(address, host: host) else { return (address, Decision(.deny, .reservedAddress)) }
            guard destination.port != nil || destination.proto == .icmp else { return (address, decide(destination)) }
            let target = Destination(address: address, proto: destination.proto, port: destination.port ?? 0)
            return (address, decide(target, host: host, pins: rules.map { Pin(address, rule: $0) }))
        }
    }

    /// By the name alone, as if it resolved to an address that no rule on addresses speaks of.
    func decide(_ destination: NamedDestination) -> Decision {
        let candidates: [(index: Int, rule: EgressRule)]
        switch names.decide(destination.name) {
        case .denied(let rule): return Decision(.deny, .deniedByRule, rule: .deny(rule))
        case .notAllowed: return Decision(.deny, .nameNotAllowed)
        case .allowed(let rules, let anywhere):
            let named = Set(rules)
            candidates = allow.enumerated().compactMap { index, rule in
                named.contains(index) || (anywhere && rule.target == .internet) ? (index, rule) : nil
            }
        }
        guard destination.port != nil || destination.proto == .icmp else {
            return Decision(.allow, .allowedByRule, rule: candidates.first.map { .allow($0.index) })
        }
        if destination.proto != .icmp && destination.port == 53 { return Decision(.allow, .allowedByRule) }
        return ruling(candidates, destination.proto, destination.port ?? 0)
    }
}
