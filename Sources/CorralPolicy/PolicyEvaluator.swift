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
        let damaged = Decision(.deny, .noPolicy)
        switch answer(for: destination.address.judged) {
        case .final(let decision)?: return decision
        case .ports(let set, let rule)?:
            guard portSets.indices.contains(set) else { return damaged }
            return decide(set: set, rule: rule, destination.proto, destination.port) ?? damaged
        case nil: return damaged
        }
    }

    /// What a port set says; `rule` is the one of the address entry. Nil when the set lacks the protocol.
    func decide(set: Int, rule: RuleReference, _ proto: IPProtocol, _ port: UInt16) -> Decision? {
        let port = proto == .icmp ? 0 : port
        let matches = portSets[set].filter { entry in
            entry.proto == proto && (entry.length == 0 || (entry.port ^ port) >> UInt16(16 - entry.length) == 0)
        }
        guard let entry = matches.max(by: { $0.length < $1.length }) else { return nil }
        return entry.decision(addressRule: rule)
    }

    private func answer(for address: IPAddress) -> AddressAnswer? {
        // The last entry at or before the address; what covers the address covers that entry as well, or is it.
        var length = 128
        while length >= 0 {
            let key = IPPrefix(address, length: length)
            let index = addresses.firstIndexPast(key) - 1
            guard index >= 0 else { return nil }
            let found = addresses[index]
            if found.prefix.contains(address), found.prefix.length <= length { return found.answer }
            // No entry lies between it and the address: a longer one than what both share cannot cover the address.
            length = min(length - 1, found.prefix.address.commonBits(with: address))
        }
        return nil
    }
}

extension CompiledPolicy.PortEntry {
    func decision(addressRule: RuleReference) -> Decision {
        switch rule {
        case .none: Decision(verdict, reason)
        case .ofAddress: Decision(verdict, reason, rule: addressRule)
        case .rule(let rule): Decision(verdict, reason, rule: rule)
        }
    }
}

extension [CompiledPolicy.AddressEntry] {
    /// Of entries in order, the first behind `prefix`.
    fileprivate func firstIndexPast(_ prefix: IPPrefix) -> Int {
        var range = 0..<count
        while !range.isEmpty {
            let middle = range.lowerBound + range.count / 2
            range = self[middle].prefix <= prefix ? middle + 1..<range.upperBound : range.lowerBound..<middle
        }
        return range.lowerBound
    }
}

extension IPAddress {
    fileprivate func commonBits(with other: IPAddress) -> Int {
        high == other.high ? 64 + (low ^ other.low).leadingZeroBitCount : (high ^ other.high).leadingZeroBitCount
    }
}
