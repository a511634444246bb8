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

    /// Where names are resolved, corrald answers these in place of whoever is asked.
    var isForResolver: Bool { proto != .icmp && port == 53 }
}

/// What the resolver has opened to a sandbox: an address that a permitted name resolved to.
public struct Pin: Sendable, Hashable {
    public var address: IPAddress
    /// Index of the rule in `egress.allow` whose domain the name matches.
    public var rule: Int
    /// Its time is over; only flows that were opened before go on.
    public var isExpired: Bool

    public init(_ address: IPAddress, rule: Int, isExpired: Bool = false) {
        self.address = address
        self.rule = rule
        self.isExpired = isExpired
    }
}

extension Policy {
    /// The plain reading of the policy: every rule looked at, in order. What the compiler makes must answer the same.
    /// - Parameter pins: of the sandbox, in the order of their rules; those on other addresses mean nothing.
    public func decide(_ destination: Destination, host: HostContext, pins: [Pin] = []) -> Decision {
        if resolvesNames && destination.isForResolver {
            return Decision(.allow, .allowedByRule)
        }
        let decision = decideByAddress(destination, host: host)
        return decision.upgraded(by: pins, on: destination) { rule in
            guard allow.indices.contains(rule), allow[rule].names != nil else { return nil }
            return ruling([(rule, allow[rule])], destination.proto, destination.port)
        }
    }

    private func decideByAddress(_ destination: Destination, host: HostContext) -> Decision {
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
        return ruling(covering.map { ($0.offset, $0.element) }, destination.proto, destination.port)
    }

    /// What allow rules that cover a destination say to a protocol and port.
    func ruling(_ rules: [(index: Int, rule: EgressRule)], _ proto: IPProtocol, _ port: UInt16) -> Decision {
        if let match = rules.first(where: { $0.rule.matches(proto, port) }) {
            return Decision(.allow, .allowedByRule, rule: .allow(match.index))
        }
        if let match = rules.first(where: { $0.rule.protocols.contains(proto) }) {
            return Decision(.deny, .portNotAllowed, rule: .allow(match.index))
        }
        if let first = rules.first { return Decision(.deny, .protocolNotAllowed, rule: .allow(first.index)) }
        return Decision(.deny, .noMatchingRule)
    }
}

extension Decision {
    /// Pins allow what no rule on addresses allows, and nothing that one refuses. Where none allows either, the last one's
    /// reason is told when there was no rule to speak of before.
    fileprivate func upgraded(
        by pins: [Pin], on destination: Destination, ruling: (Int) -> Decision?
    ) -> Decision {
        guard verdict != .allow, [.noMatchingRule, .portNotAllowed, .protocolNotAllowed].contains(reason) else {
            return self
        }
        var decision = self
        let address = destination.address.judged
        for pin in pins where pin.address.judged == address {
            guard let ruled = ruling(pin.rule) else { continue }
            if ruled.verdict == .allow && !pin.isExpired { return ruled }
            guard reason == .noMatchingRule else { continue }
            decision = ruled
            if ruled.verdict == .allow { decision = Decision(.deny, .nameNotResolvedHere, rule: ruled.rule) }
        }
        return decision
    }
}

extension CompiledPolicy {
    /// Answers as the kernel's programs do: by the longest match alone, then by pins.
    public func decide(_ destination: Destination, pins: [Pin] = []) -> Decision {
        if resolvesNames && destination.isForResolver {
            return Decision(.allow, .allowedByRule)
        }
        let decision = decideByAddress(destination)
        guard resolvesNames else { return decision }
        return decision.upgraded(by: pins, on: destination) { rule in
            namePorts[rule].flatMap {
                decide(set: $0, rule: .allow(rule), destination.proto, destination.port)
            }
        }
    }

    private func decideByAddress(_ destination: Destination) -> Decision {
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
