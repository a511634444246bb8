extension Destination {
    /// Why a text is no destination.
    public struct ParseError: Error, Sendable, Equatable, CustomStringConvertible {
        public var description: String
    }

    /// `203.0.113.9:443`, `203.0.113.9:53/udp`, `[2001:db8::1]:443/tcp`, `203.0.113.9/icmp`. Protocol tcp unless given.
    public static func parse(_ text: String) throws(ParseError) -> Destination {
        func failure(_ reason: String) -> ParseError {
            ParseError(
                description: "\"\(text)\" \(reason); expected ADDRESS[:PORT][/PROTOCOL], like 203.0.113.9:443/tcp")
        }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2 else { throw failure("has more than one /") }
        guard let proto = parts.count == 2 ? IPProtocol(String(parts[1])) : .tcp else {
            throw failure("names a protocol other than tcp, udp and icmp")
        }
        var host = parts[0]
        var portText: Substring?
        if host.hasPrefix("[") {
            guard let end = host.firstIndex(of: "]") else { throw failure("has no ]") }
            let after = host[host.index(after: end)...]
            host = host[host.index(after: host.startIndex)..<end]
            if after.hasPrefix(":") {
                portText = after.dropFirst()
            } else if !after.isEmpty {
                throw failure("goes on after ]")
            }
        } else if let colon = host.firstIndex(of: ":"), host.lastIndex(of: ":") == colon {
            portText = host[host.index(after: colon)...]
            host = host[..<colon]
        }
        guard let address = IPAddress(host) else { throw failure("has no IP address") }
        guard let portText else {
            guard proto == .icmp else { throw failure("has no port, which \(proto) needs") }
            return Destination(address: address, proto: proto, port: 0)
        }
        guard proto != .icmp else { throw failure("has a port, and icmp knows none") }
        guard portText.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(portText), port > 0 else {
            throw failure("has no port of 1...65535")
        }
        return Destination(address: address, proto: proto, port: port)
    }
}

extension Destination: CustomStringConvertible {
    public var description: String {
        guard proto != .icmp else { return "\(address)/icmp" }
        return address.ipv4 == nil ? "[\(address)]:\(port)/\(proto)" : "\(address):\(port)/\(proto)"
    }
}

/// What a policy says of one destination, and why.
public struct Explanation: Sendable, Equatable, CustomStringConvertible {
    public var destination: Destination
    public var decision: Decision
    /// `mode: audit`: it would pass all the same.
    public var audits: Bool
    /// `web.yaml:7`, of the rule that decided.
    public var place: String?
    public var hint: String?

    public var description: String {
        var verdict = decision.verdict == .allow ? "allow" : audits ? "would_deny" : "deny"
        verdict += "  \(destination)  \(decision.reason.rawValue)"
        var lines = [verdict]
        if let rule = decision.rule { lines.append("rule: \(rule)" + (place.map { " (\($0))" } ?? "")) }
        if let hint { lines.append("hint: \(hint)") }
        return lines.joined(separator: "\n")
    }
}

extension Policy {
    public func explain(_ destination: Destination, host: HostContext) -> Explanation {
        let decision = decide(destination, host: host)
        let line: Int? =
            switch decision.rule {
            case .allow(let index)?: allow[index].line
            case .deny(let index)?: deny[index].line
            case nil: nil
            }
        return Explanation(
            destination: destination, decision: decision, audits: mode == .audit,
            place: line.flatMap { $0 > 0 ? "\(file):\($0)" : nil },
            hint: decision.verdict == .allow ? nil : hint(for: decision, destination: destination, host: host)
        )
    }

    /// One line on what to change so that this passes, or why nothing can be.
    public func hint(for decision: Decision, destination: Destination, host: HostContext) -> String {
        var refusal = Refusal(reason: decision.reason, rule: decision.rule)
        refusal.address = destination.address
        refusal.proto = destination.proto
        refusal.protoText = destination.proto.description
        if destination.proto != .icmp { refusal.port = destination.port }
        if decision.reason == .portNotAllowed, case .allow(let index)? = decision.rule {
            refusal.rulePorts = allow[index].ports
        }
        if let range = SpecialRanges.reserved(for: host).first(where: { $0.prefix.contains(destination.address.judged) }
        ) {
            refusal.reservedRange = "\(range.name) (\(range.prefix))"
        }
        return refusal.hint
    }

    /// One line for `corral policy validate`.
    public var summary: String {
        "policy \(name): mode \(mode.rawValue), \(allow.count) allow and \(deny.count) deny rules"
    }
}
