/// Where a packet or call wants to go.
public struct Destination: Sendable, Hashable {
    public var address: IPAddress
    public var proto: IPProtocol
    /// 0 for icmp.
    public var port: UInt16

    public init(address: IPAddress, proto: IPProtocol, port: UInt16) {
        self.address = address
        self.proto = proto
        self.port = port
    }
}

extension Policy {
    /// The plain reading of the policy: every rule looked at, in order. What the compiler makes must answer the same.
    public func decide(_ destination: Destination, host: HostContext) -> Decision {
        let address = destination.address.judged
        let reserved = SpecialRanges.reserved(for: host).filter { $0.prefix.contains(address) }
        let covering = allow.enumerated().filter { _, rule in
            guard rule.covers(address) else { return false }
            return reserved.allSatisfy { range in
                if case .prefix(let prefix) = rule.target { range.prefix.contains(prefix) } else { false }
            }
        }
        if !reserved.isEmpty && covering.isEmpty { return Decision(.deny, .reservedAddress) }
        if let index = deny.firstIndex(where: {
            $0.covers(address) && $0.matches(destination.proto, destination.port)
        }) {
            return Decision(.deny, .deniedByRule, rule: .deny(index))
        }
        if let match = covering.first(where: { $0.element.matches(destination.proto, destination.port) }) {
            return Decision(.allow, .allowedByRule, rule: .allow(match.offset))
        }
        if let match = covering.first(where: { $0.element.protocols.contains(destination.proto) }) {
            return Decision(.deny, .portNotAllowed, rule: .allow(match.offset))
        }
        if let first = covering.first { return Decision(.deny, .protocolNotAllowed, rule: .allow(first.offset)) }
        return Decision(.deny, .noMatchingRule)
    }
}

extension CompiledPolicy {
    /// Answers as the kernel's trie does: by the longest match alone.
    public func decide(_ destination: Destination) -> Decision {
        let address = destination.address.judged
        let port = destination.proto == .icmp ? 0 : destination.port
        for length in stride(from: 128, through: 0, by: -1) {
            guard let answer = addresses[IPPrefix(address, length: length)] else { continue }
            switch answer {
            case .final(let decision):
                return decision
            case .ports(let set):
                let matches = portSets[set].filter { entry in
                    entry.proto == destination.proto
                        && (entry.length == 0 || (entry.port ^ port) >> UInt16(16 - entry.length) == 0)
                }
                return matches.max { $0.length < $1.length }?.decision ?? Decision(.deny, .noPolicy)
            }
        }
        return Decision(.deny, .noPolicy)
    }
}
