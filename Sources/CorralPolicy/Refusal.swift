/// Something that was refused, as far as it is known: the one source of hints, for events and for `corral policy explain`.
public struct Refusal: Sendable, Equatable {
    public var reason: Reason
    /// The rule that decided, or the nearest that almost matched.
    public var rule: RuleReference?
    /// On its way into the sandbox.
    public var isInbound = false
    /// The other side, as the program or packet gave it.
    public var address: IPAddress?
    /// What the other side is called, where it was reached by name.
    public var name: String?
    public var port: UInt16?
    /// Nil for a protocol that no policy can name.
    public var proto: IPProtocol?
    /// How to call the protocol, whatever it is.
    public var protoText: String?
    /// Ports that `rule` allows; nil where that is not known.
    public var rulePorts: [ClosedRange<UInt16>]?
    /// The reserved range that holds the address, as a person reads it; nil where it is not known.
    public var reservedRange: String?

    public init(reason: Reason, rule: RuleReference? = nil) {
        self.reason = reason
        self.rule = rule
    }

    /// One line that says what to change in the policy so that this passes, or why it never can.
    public var hint: String {
        switch reason {
        case .allowedByRule:
            return "\(rule?.description ?? "a rule") allows it"
        case .noMatchingRule where isQuestion, .reservedAddress where isQuestion:
            return "no rule of egress.allow names a domain, so no name is resolved here; to permit names add "
                + "{ domain: NAME, ports: [443] }"
        case .noMatchingRule:
            guard address != nil else { return "no rule of egress.allow covers this" }
            return "no rule of egress.allow covers \(destination); to permit it add \(ruleToAdd)"
        case .deniedByRule:
            return "\(rule?.description ?? "a rule of egress.deny") refuses \(destination), and deny beats allow; "
                + "remove or narrow that rule to permit it"
        case .reservedAddress:
            return
                "\(destination) is in a reserved range\(reservedRange.map { ", \($0)" } ?? ""), which only a rule that "
                + "names a range inside it opens; to permit it add \(ruleToAdd)"
        case .portNotAllowed:
            let rule = rule?.description ?? "a rule"
            guard let port else { return "\(rule) covers \(destination) but not this port; add it to the rule's ports" }
            guard let rulePorts else {
                return "\(rule) covers \(destination) but not port \(port); add it to the rule's ports"
            }
            return
                "\(rule) covers \(destination) on \(Self.list(rulePorts)) but not port \(port); add it to the rule's ports"
        case .protocolNotAllowed:
            guard let proto else {
                return "only tcp, udp and icmp echo can leave a sandbox; no policy can permit \(protoText ?? "this")"
            }
            guard let rule else { return "no rule of egress.allow permits \(proto); add `protocol: \(proto)` to one" }
            return "\(rule) covers \(destination) but not \(proto); add \(proto) to the rule's protocol"
        case .nameNotAllowed:
            return "no rule of egress.allow names \(name ?? "this name")"
                + (name.map { "; to permit it add { domain: \($0), ports: [\(port ?? 443)] }" } ?? "")
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
            return "only IPv4 and IPv6 can leave or enter a sandbox; no policy can permit \(protoText ?? "this")"
        case .unsolicitedInbound:
            return isInbound
                ? "only replies to what the sandbox opened are let in"
                : "the sandbox may answer only on connections that it opened"
        case .noPolicy:
            return "the sandbox has no policy, so nothing may leave it; start it with --policy"
        case .syscallNotAllowed:
            return "the system call profile refuses this call; syscalls.allow can permit it"
        case .foreignSocket:
            return KernelOperation.receive.hint
        case .pathNotAllowed:
            return "no rule of files covers this path"
        }
    }

    /// To a name server, whichever: under a policy that names a domain it would not have been refused.
    private var isQuestion: Bool { !isInbound && address != nil && port == 53 && (proto == .udp || proto == .tcp) }

    private var destination: String {
        guard let address else { return name ?? "this" }
        let judged = address.judged
        let text = name.map { "\(address) (\($0))" } ?? "\(address)"
        return judged == address ? text : "\(text), which carries \(judged),"
    }

    /// A rule for exactly this destination, in the policy's own notation.
    private var ruleToAdd: String {
        guard let address else { return "a rule" }
        var rule = "{ cidr: \(IPPrefix(address.judged, length: 128))"
        if let port { rule += ", ports: [\(port)]" }
        if let proto, proto != .tcp { rule += ", protocol: \(proto)" }
        return rule + " }"
    }

    /// As a policy writes them; cut short when there are many.
    static func list(_ ports: [ClosedRange<UInt16>]) -> String {
        let texts = ports.prefix(8).map {
            $0.lowerBound == $0.upperBound ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)"
        }
        return texts.joined(separator: ", ") + (ports.count > 8 ? " and more" : "")
    }
}
