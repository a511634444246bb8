/// Which addresses a name may not lead to (rebinding): an answer from outside must not point into the host's own networks.
extension HostContext {
    /// Blocks that are routed inside networks alone. Sources: RFC 1918, 6598, 4193, 2544.
    private static let privateBlocks: [IPPrefix] = [
        "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "198.18.0.0/15", "192.0.0.0/24",
        "fc00::/7",
    ].compactMap { IPPrefix($0) }

    /// Private, or in a range that is reserved on this host; NAT64 and 6to4 addresses as the IPv4 address they carry.
    public func isPrivateOrReserved(_ address: IPAddress) -> Bool {
        let judged = address.judged
        return Self.privateBlocks.contains { $0.contains(judged) }
            || SpecialRanges.reserved(for: self).contains { $0.prefix.contains(judged) }
    }
}

extension Policy {
    /// Whether an answer of a name server may hold this address.
    public func mayAnswer(_ address: IPAddress, host: HostContext) -> Bool {
        !host.isPrivateOrReserved(address) || permitsByBlock(address, host: host)
    }

    /// Whether a rule with a block permits something on this address, so that a name that leads there opens nothing new.
    public func permitsByBlock(_ address: IPAddress, host: HostContext) -> Bool {
        let judged = address.judged
        return allow.contains { rule in
            guard case .prefix(let prefix) = rule.target, prefix.contains(judged), let proto = rule.protocols.first
            else {
                return false
            }
            // Any port but the resolver's answers for the rule.
            let port = rule.ports?.map(\.lowerBound).first { $0 != 53 } ?? 443
            return decide(Destination(address: judged, proto: proto, port: proto == .icmp ? 0 : port), host: host)
                .verdict
                == .allow
        }
    }
}
