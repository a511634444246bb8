public import CorralPolicy

/// Policies and destinations that aim at edges: block boundaries, ends of port ranges, reserved ranges, nested rules.
public struct RandomPolicy {
    private var generator: SplitMix64

    public init(seed: UInt64) {
        generator = SplitMix64(state: seed)
    }

    private static let interesting = [
        "203.0.113.0", "203.0.113.66", "10.213.0.1", "10.213.255.255", "192.0.2.1", "127.0.0.1", "169.254.169.254",
        "100.100.100.200", "8.8.8.8", "0.0.0.0", "224.0.0.251", "255.255.255.255", "1.1.1.1", "2001:db8::1",
        "2606:4700::1",
        "::1", "fe80::1", "ff02::fb", "fd00:ec2::254", "fdc0:44a1:213::5", "2001:db8:ffff::1", "::ffff:8.8.8.8",
        "64:ff9b::808:808", "2002:808:808::1", "64:ff9b::7f00:1", "2002:7f00:1::",
    ].compactMap { IPAddress($0) }

    private static let ports: [UInt16] = [1, 22, 53, 80, 443, 1023, 1024, 8000, 8010, 32767, 32768, 65534, 65535]

    private mutating func pick<Element>(_ list: [Element]) -> Element {
        list[Int.random(in: 0..<list.count, using: &generator)]
    }

    private mutating func address() -> IPAddress {
        if Int.random(in: 0..<4, using: &generator) > 0 { return pick(Self.interesting) }
        if Bool.random(using: &generator) { return IPAddress(ipv4: UInt32.random(in: 0...(.max), using: &generator)) }
        return IPAddress(
            high: UInt64.random(in: 0...(.max), using: &generator),
            low: UInt64.random(in: 0...(.max), using: &generator)
        )
    }

    private static let domains = ["api.example.com", "*.example.org", "example.net", "*.a.example.org"].compactMap {
        try? DomainPattern($0)
    }

    private mutating func rule(isDeny: Bool) -> EgressRule {
        if Int.random(in: 0..<5, using: &generator) == 0 {
            let target = EgressRule.Target.domain(pick(Self.domains))
            // In egress.deny a name has neither ports nor protocols.
            return isDeny
                ? EgressRule(target: target, protocols: Set(IPProtocol.allCases))
                : EgressRule(target: target, ports: ports(), protocols: protocols())
        }
        var target = EgressRule.Target.internet
        if Int.random(in: 0..<6, using: &generator) > 0 {
            // A rule on a form that carries IPv4 is refused by the parser.
            let address = address().judged
            let shortest = address.ipv4 == nil ? 0 : 96
            target = .prefix(
                IPPrefix(address, length: pick([shortest, 104, 112, 120, 127, 128].filter { $0 >= shortest })))
        }
        return EgressRule(target: target, ports: ports(), protocols: protocols())
    }

    private mutating func ports() -> [ClosedRange<UInt16>]? {
        guard Bool.random(using: &generator) else { return nil }
        return (0..<Int.random(in: 1...3, using: &generator)).map { _ in
            let ends = [pick(Self.ports), pick(Self.ports)].sorted()
            return ends[0]...ends[1]
        }
    }

    private mutating func protocols() -> Set<IPProtocol> {
        let protocols: [Set<IPProtocol>] = [[.tcp], [.udp], [.tcp, .udp], [.tcp, .udp, .icmp], [.tcp, .icmp]]
        return pick(protocols)
    }

    public mutating func policy() -> Policy {
        let allow = (0..<Int.random(in: 0...6, using: &generator)).map { _ in rule(isDeny: false) }
        let deny = (0..<Int.random(in: 0...3, using: &generator)).map { _ in rule(isDeny: true) }
        return Policy(name: "random", allow: allow, deny: deny)
    }

    /// What the resolver may have opened: half of the time nothing, else up to four rules, most of them on this destination.
    public mutating func pins(near destination: Destination, _ policy: Policy) -> [Pin] {
        let rules = policy.allow.indices.filter { policy.allow[$0].names != nil }
        guard !rules.isEmpty, Bool.random(using: &generator) else { return [] }
        let isHere = Int.random(in: 0..<8, using: &generator) > 0
        return rules.shuffled(using: &generator).prefix(Int.random(in: 1...4, using: &generator)).map {
            Pin(
                isHere ? destination.address : IPAddress(ipv4: 0x0808_0404), rule: $0,
                isExpired: Int.random(in: 0..<4, using: &generator) == 0)
        }
    }

    /// One of the policy's own edges half of the time.
    public mutating func destination(near policy: Policy) -> Destination {
        var address = address()
        let prefixes: [IPPrefix] = (policy.allow + policy.deny).compactMap {
            if case .prefix(let prefix) = $0.target { prefix } else { nil }
        }
        if !prefixes.isEmpty && Bool.random(using: &generator) {
            let prefix = pick(prefixes)
            let first = prefix.address
            let span: UInt64 = prefix.length > 64 ? (1 << UInt64(128 - prefix.length)) &- 1 : .max
            address = pick([
                first, IPAddress(high: first.high, low: first.low | span),
                IPAddress(high: first.high, low: first.low &- 1),
                IPAddress(high: first.high, low: (first.low | span) &+ 1),
            ])
        }
        let proto = pick(IPProtocol.allCases)
        var port = pick(Self.ports)
        if Bool.random(using: &generator) { port = port &+ pick([1, UInt16.max]) }
        return Destination(address: address, proto: proto, port: proto == .icmp ? 0 : port)
    }
}

/// Steele, Lea and Flood's generator: the same numbers for the same seed everywhere.
public struct SplitMix64: RandomNumberGenerator {
    private var state: UInt64

    public init(state: UInt64) {
        self.state = state
    }

    public mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var word = state
        word = (word ^ word >> 30) &* 0xbf58_476d_1ce4_e5b9
        word = (word ^ word >> 27) &* 0x94d0_49bb_1331_11eb
        return word ^ word >> 31
    }
}
