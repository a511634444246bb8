internal import CorralPolicy

extension Traffic {
    /// One line that says what to change in the policy so that this passes, or why it never can. Nil when it was allowed.
    func adviceWhenRefused(rule: RuleReference?, direction: WireDecision.Direction) -> String? {
        guard verdict != .allow else { return nil }
        switch reason {
        case .allowedByRule:
            return nil
        case .noMatchingRule:
            guard remote != nil else { return "no rule of egress.allow covers this" }
            return "no rule of egress.allow covers \(destination); to permit it add \(ruleToAdd)"
        case .deniedByRule:
            return "\(rule?.description ?? "a rule of egress.deny") refuses \(destination), and deny beats allow; "
                + "remove or narrow that rule to permit it"
        case .reservedAddress:
            return "\(destination) is in a reserved range, which only a rule that names a range inside it opens; "
                + "to permit it add \(ruleToAdd)"
        case .portNotAllowed:
            let port = remote?.port.map { "port \($0)" } ?? "this port"
            return "\(rule?.description ?? "a rule") covers \(destination) but not \(port); add it to the rule's ports"
        case .protocolNotAllowed:
            guard let proto, isNamable(proto) else {
                return
                    "only tcp, udp and icmp echo can leave a sandbox; no policy can permit \(proto?.description ?? "this")"
            }
            let word = proto == .ip(58) ? "icmp" : proto.description
            guard let rule else { return "no rule of egress.allow permits \(word); add `protocol: \(word)` to one" }
            return "\(rule) covers \(destination) but not \(word); add \(word) to the rule's protocol"
        case .nameNotAllowed:
            return "no rule of egress.allow names \(remote?.name ?? "this name")"
        case .nameNotResolvedHere:
            return "the sandbox reached for an address that it did not resolve by name; connect by name, or permit the "
                + "address by cidr"
        case .limitExhausted:
            return "the sandbox has used up a budget of egress.limits"
        case .spoofedSource:
            return "the frame does not carry the sandbox's own address; no policy can permit it"
        case .ipOptions:
            return "IPv4 options could send the packet elsewhere than its destination says; no policy can permit them"
        case .extensionHeader:
            return "IPv6 extension headers could send the packet elsewhere than its destination says; no policy can "
                + "permit them"
        case .fragment:
            return "a fragment hides its ports; send smaller packets, no policy can permit it"
        case .notIP:
            return
                "only IPv4 and IPv6 can leave or enter a sandbox; no policy can permit \(proto?.description ?? "this")"
        case .unsolicitedInbound:
            return direction == .ingress
                ? "only replies to what the sandbox opened are let in"
                : "the sandbox may answer only on connections that it opened"
        case .noPolicy:
            return "the sandbox has no policy, so nothing may leave it; start it with --policy"
        case .syscallNotAllowed:
            return "the system call profile refuses this call; syscalls.allow can permit it"
        }
    }

    private var destination: String { remote?.ip.description ?? "this" }

    private func isNamable(_ proto: TrafficProtocol) -> Bool {
        guard case .ip(let number) = proto else { return false }
        return number == 58 || IPProtocol(rawValue: number) != nil
    }

    /// A rule for exactly this destination, in the policy's own notation.
    private var ruleToAdd: String {
        guard let remote else { return "a rule" }
        var rule = "{ cidr: \(IPPrefix(remote.ip, length: 128))"
        if let port = remote.port { rule += ", ports: [\(port)]" }
        switch proto {
        case .udp: rule += ", protocol: udp"
        case .icmp, .ip(58): rule += ", protocol: icmp"
        case .tcp, .ip, .ethertype, nil: break
        }
        return rule + " }"
    }
}
