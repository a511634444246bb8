/// The part of a policy under `egress`.
extension FieldReader {
    mutating func egress(_ node: YamlNode, _ policy: inout Policy) {
        for entry in mapping(node, "egress") ?? [] {
            let (key, value) = (entry.key, entry.value)
            switch key {
            case "allow": policy.allow = rules(value, "egress.allow", byDefault: [.tcp, .udp], isDeny: false)
            case "deny": policy.deny = rules(value, "egress.deny", byDefault: Set(IPProtocol.allCases), isDeny: true)
            case "limits": budgets(value, &policy.budgets)
            default: unknown(key, value, "egress", ["allow", "deny", "limits"])
            }
        }
    }

    mutating func rules(_ node: YamlNode, _ field: @autoclosure () -> String, byDefault: Set<IPProtocol>, isDeny: Bool)
        -> [EgressRule]
    {
        var rules: [EgressRule] = []
        for (index, entry) in (sequence(node, field()) ?? []).enumerated() {
            if let rule = rule(entry, "\(field())[\(index)]", byDefault, isDeny: isDeny) { rules.append(rule) }
        }
        return rules
    }

    mutating func rule(_ node: YamlNode, _ field: @autoclosure () -> String, _ byDefault: Set<IPProtocol>, isDeny: Bool)
        -> EgressRule?
    {
        guard let fields = mapping(node, field()) else { return nil }
        var target: EgressRule.Target?
        var targets: [String] = []
        var ports: [ClosedRange<UInt16>]?
        var protocols = byDefault
        for entry in fields {
            let (key, value) = (entry.key, entry.value)
            switch key {
            case "cidr":
                targets.append(key)
                if let prefix = prefix(value, "\(field()).cidr") { target = .prefix(prefix) }
            case "preset":
                targets.append(key)
                guard let text = string(value, "\(field()).preset", "internet") else { break }
                if text == "internet" {
                    target = .internet
                } else {
                    note(value, "\(field()).preset", "\(quoted(text)) is no preset", "internet")
                }
            case "domain":
                targets.append(key)
                if let pattern = domain(value, "\(field()).domain") { target = .domain(pattern) }
            case "ports": ports = portList(value, "\(field()).ports")
            case "protocol": protocols = protocolList(value, "\(field()).protocol") ?? protocols
            default: unknown(key, value, field(), ["domain", "cidr", "preset", "ports", "protocol"])
            }
        }
        if targets.count != 1 {
            note(
                node, field(), targets.isEmpty ? "names no destination" : "names \(targets.joined(separator: " and "))",
                "one of domain, cidr, preset"
            )
        }
        if ports != nil && protocols == [.icmp] {
            note(node, "\(field()).ports", "icmp has no ports", "no ports, or tcp or udp beside it")
        }
        if isDeny, case .domain? = target, fields.contains(where: { $0.key == "ports" || $0.key == "protocol" }) {
            note(
                node, field(), "refuses a name, which is then not resolved at all",
                "the domain without ports and protocol")
        }
        guard let target else { return nil }
        return EgressRule(target: target, ports: ports, protocols: protocols, line: node.place.line)
    }

    mutating func domain(_ node: YamlNode, _ field: @autoclosure () -> String) -> DomainPattern? {
        guard let text = string(node, field(), DomainPattern.example) else { return nil }
        do throws(DomainPattern.ParseError) {
            return try DomainPattern(text)
        } catch {
            note(node, field(), "\(quoted(text)) \(error.message)", error.expected)
            return nil
        }
    }

    private mutating func budgets(_ node: YamlNode, _ budgets: inout EgressBudgets) {
        for entry in mapping(node, "egress.limits") ?? [] {
            let (key, value) = (entry.key, entry.value)
            let field = "egress.limits.\(key)"
            switch key {
            case "bytes":
                let expected = "a size, like 50MiB, of at least 1KiB"
                guard let text = string(value, field, expected) else { break }
                if let bytes = ByteSize.parse(text), bytes >= 1024, bytes <= UInt64(Int64.max) {
                    budgets.bytes = bytes
                } else {
                    note(value, field, "\(quoted(text)) is no such size", expected)
                }
            case "rate":
                let expected = "bits a second, like 500kbit, 10Mbit or 1Gbit, from 8kbit to 1000Gbit"
                guard let text = string(value, field, expected) else { break }
                if let rate = BitRate.parse(text), (8_000...1_000_000_000_000).contains(rate) {
                    budgets.bitsPerSecond = rate
                } else {
                    note(value, field, "\(quoted(text)) is no such rate", expected)
                }
            case "connections", "dnsQueries":
                let expected = "a number, 1...1000000000000"
                guard let text = string(value, field, expected) else { break }
                guard let count = DecimalText.integer(text), (1...1_000_000_000_000).contains(count) else {
                    note(value, field, "\(quoted(text)) is no such number", expected)
                    break
                }
                if key == "connections" { budgets.connections = count } else { budgets.dnsQueries = count }
            default: unknown(key, value, "egress.limits", ["bytes", "connections", "rate", "dnsQueries"])
            }
        }
    }

    mutating func prefix(_ node: YamlNode, _ field: @autoclosure () -> String) -> IPPrefix? {
        let expected = "an address or a block, like 203.0.113.0/24 or 2001:db8::/32"
        guard let text = string(node, field(), expected) else { return nil }
        guard let prefix = IPPrefix(text) else {
            let parts = text.split(separator: "/", maxSplits: 1)
            if parts.count == 2, let address = IPAddress(parts[0]),
                let length = DecimalText.integer(parts[1]).flatMap({ Int(exactly: $0) }),
                length <= (parts[0].contains(":") ? 128 : 32)
            {
                let block = IPPrefix(address, length: parts[0].contains(":") ? length : length + 96)
                note(node, field(), "\(quoted(text)) has bits set past its length", "\(block), or \(address) alone")
            } else {
                note(node, field(), "\(quoted(text)) is no block of addresses", expected)
            }
            return nil
        }
        // Inside, IPv4 is ::ffff:0:0/96: a wider IPv6 block would cover it unsaid.
        if prefix.length < 96, prefix.contains(IPAddress(ipv4: 0)) {
            note(
                node, field(), "\(quoted(text)) covers IPv4 as well",
                "2000::/3 or another block of IPv6, and 0.0.0.0/0 beside it")
            return nil
        }
        // Packets to these are judged by the IPv4 address that they carry, so that a rule on them would never be asked.
        if prefix.address.judged != prefix.address || IPPrefix("2002::/16")?.contains(prefix) == true
            || IPPrefix("64:ff9b::/96")?.contains(prefix) == true
        {
            note(
                node, field(), "\(quoted(text)) carries IPv4 addresses, which are what is judged",
                "the IPv4 block itself")
            return nil
        }
        return prefix
    }

    /// Entries of one rule's `ports`.
    private static let maximumPorts = 1024

    mutating func portList(_ node: YamlNode, _ field: @autoclosure () -> String) -> [ClosedRange<UInt16>]? {
        guard let entries = sequence(node, field()) else { return nil }
        if entries.isEmpty {
            note(node, field(), "is an empty list", "at least one port, or no ports at all for every port")
        }
        guard entries.count <= Self.maximumPorts else {
            note(
                node, field(), "has \(entries.count) entries",
                "at most \(Self.maximumPorts); ranges such as \"8000-8010\"")
            return nil
        }
        var ranges: [ClosedRange<UInt16>] = []
        ranges.reserveCapacity(entries.count)
        for (index, entry) in entries.enumerated() {
            let expected = "1...65535 or a range \"8000-8010\""
            guard let text = string(entry, "\(field())[\(index)]", expected) else { continue }
            if let port = DecimalText.integer(text).flatMap({ UInt16(exactly: $0) }), port > 0 {
                ranges.append(port...port)
                continue
            }
            let parts = text.split(separator: "-", maxSplits: 2, omittingEmptySubsequences: false)
            let numbers = parts.compactMap { DecimalText.integer($0).flatMap { UInt16(exactly: $0) } }
            guard numbers.count == parts.count, numbers.count <= 2, let first = numbers.first, let last = numbers.last,
                first > 0
            else {
                note(entry, "\(field())[\(index)]", "\(quoted(text)) is not a port", expected)
                continue
            }
            guard first <= last else {
                note(entry, "\(field())[\(index)]", "\(quoted(text)) ends before it begins", "\"\(last)-\(first)\"")
                continue
            }
            ranges.append(first...last)
        }
        return ranges
    }

    mutating func protocolList(_ node: YamlNode, _ field: @autoclosure () -> String) -> Set<IPProtocol>? {
        var entries = [node]
        if case .sequence(let nodes) = node.value {
            entries = nodes
            if entries.isEmpty { note(node, field(), "is an empty list", "tcp, udp, icmp") }
        }
        var protocols: Set<IPProtocol> = []
        for entry in entries {
            guard let text = string(entry, field(), "tcp, udp or icmp") else { continue }
            if let proto = IPProtocol(text) {
                protocols.insert(proto)
            } else {
                note(entry, field(), "\(quoted(text)) is not a protocol of policies", "tcp, udp or icmp")
            }
        }
        return protocols.isEmpty ? nil : protocols
    }
}
