@testable import CorralEvents
@testable import CorralPolicy

enum PolicyTargets {
    static let host = HostContext(
        hostAddresses: [IPPrefix(IPAddress(ipv4: 0xc000_0207), length: 128)],
        sandboxPools: [IPPrefix(IPAddress(ipv4: 0x0ad5_0000), length: 112)])

    /// Where every policy is asked about, beside the edges of its own ranges.
    private static let addresses = [
        "203.0.113.9", "203.0.113.66", "10.213.0.5", "127.0.0.1", "169.254.169.254", "192.0.2.7", "8.8.8.8", "0.0.0.0",
        "255.255.255.255", "::1", "2001:db8::1", "fd00:ec2::254", "64:ff9b::8.8.8.8", "2002:808:808::1",
    ].compactMap { IPAddress($0) }

    /// A policy file, as far as it gets: parse, compile, decide, explain, compare.
    static let policy: Fuzz.Target = { bytes in
        guard let text = String(validating: bytes, as: UTF8.self) else { return }
        let policy: Policy
        do throws(PolicyError) {
            policy = try Policy(yaml: text, file: "fuzz.yaml")
        } catch {
            Fuzz.require(!error.problems.isEmpty, "a refusal names a problem")
            Fuzz.require(!"\(error)".isEmpty, "a problem can be told")
            return
        }
        guard let compiled = try? policy.compile(host: host) else { return }
        var asked = addresses
        for case .prefix(let prefix) in (policy.allow + policy.deny).prefix(20).map(\.target) {
            let last = prefix.length > 64 ? (1 << UInt64(128 - prefix.length)) &- 1 : UInt64.max
            asked.append(prefix.address)
            asked.append(IPAddress(high: prefix.address.high, low: prefix.address.low | last))
            asked.append(IPAddress(high: prefix.address.high, low: (prefix.address.low | last) &+ 1))
        }
        for address in asked {
            for (proto, port) in [(IPProtocol.tcp, 443), (.udp, 53), (.icmp, 0), (.tcp, 8005)] as [(IPProtocol, UInt16)]
            {
                let destination = Destination(address: address, proto: proto, port: port)
                let decision = policy.decide(destination, host: host)
                Fuzz.require(
                    compiled.decide(destination) == decision, "\(destination): compiled and written policy agree")
                _ = policy.explain(.address(destination), host: host).description
            }
        }
        let names = (policy.allow + policy.deny).prefix(20).compactMap { rule in
            if case .domain(let pattern) = rule.target { pattern.name } else { nil }
        }
        for name in names + ["api.example.com", "evil.example"] {
            _ = policy.explain(.name(NamedDestination(name: name, port: 443)), host: host).description
        }
        let diff = try? PolicyDiff(from: policy, to: policy, host: host)
        Fuzz.require(diff?.isEmpty ?? true, "a policy is like itself")
    }

    private static let tested: Policy? = try? Policy(
        yaml: """
            apiVersion: corral/v1
            name: web
            egress:
              allow:
                - { domain: "*.example.com", ports: [443] }
                - { cidr: 203.0.113.0/24, ports: [443, "8000-8010"] }
                - preset: internet
              deny:
                - { domain: evil.example }
                - { cidr: 203.0.113.66 }
            """, file: "web.yaml")

    /// A file of policy cases, run on a policy.
    static let cases: Fuzz.Target = { bytes in
        guard let text = String(validating: bytes, as: UTF8.self) else { return }
        guard let policy = tested else { fatalError("the policy that cases are run on is one") }
        do throws(PolicyError) {
            let cases = try PolicyCases(yaml: text, file: "cases.yaml")
            let outcomes = cases.run(on: policy, host: host)
            Fuzz.require(outcomes.count == cases.cases.count, "one outcome a case")
            for outcome in outcomes { Fuzz.require(!outcome.description.isEmpty, "an outcome can be told") }
        } catch {
            Fuzz.require(!error.problems.isEmpty, "a refusal names a problem")
            Fuzz.require(!"\(error)".isEmpty, "a problem can be told")
        }
    }

    /// The small notations: addresses, ranges, names, endpoints, sizes, times. What is read means the same once written.
    static let notation: Fuzz.Target = { bytes in
        guard let text = String(validating: bytes, as: UTF8.self) else { return }
        if let address = IPAddress(text) {
            Fuzz.require(IPAddress(address.description) == address, "address \(address)")
        }
        if let prefix = IPPrefix(text) { Fuzz.require(IPPrefix(prefix.description) == prefix, "range \(prefix)") }
        if let pattern = try? DomainPattern(text) {
            let written = (pattern.isWildcard ? "*." : "") + pattern.name
            Fuzz.require((try? DomainPattern(written)) == pattern, "name \(written)")
            Fuzz.require(
                pattern.name.utf8.allSatisfy { (0x61...0x7a).contains($0) || (0x2d...0x39).contains($0) || $0 == 0x5f },
                "name of plain letters: \(written)")
        }
        if let endpoint = try? Endpoint.parse(text) {
            Fuzz.require((try? Endpoint.parse("\(endpoint)")) == endpoint, "endpoint \(endpoint)")
        }
        if let size = ByteSize.parse(text) { Fuzz.require(ByteSize.parse(ByteSize.text(size)) == size, "size \(size)") }
        if let rate = BitRate.parse(text) { Fuzz.require(BitRate.parse(BitRate.text(rate)) == rate, "rate \(rate)") }
        if let time = DurationText.parse(text) {
            Fuzz.require(DurationText.parse(DurationText.text(time)) == time, "duration \(time)")
        }
        if let time = RFC3339.nanoseconds(text) {
            Fuzz.require(RFC3339.nanoseconds(RFC3339.text(time)) == time, "time \(time)")
        }
        if let destination = EventFilter.Destination(text) {
            Fuzz.require(
                EventFilter.Destination(destination.description) == destination, "destination \(destination)")
        }
        if let rule = RuleReference(text) { Fuzz.require(RuleReference(rule.description) == rule, "rule \(rule)") }
        if let proto = TrafficProtocol(text) {
            Fuzz.require(TrafficProtocol(proto.description) == proto, "protocol \(proto)")
        }
        if let type = DNSRecordType(text) {
            Fuzz.require(DNSRecordType(type.description) == type, "record type \(type)")
        }
        // What is no name of a call is compared with all of them, which takes long.
        if text.hasPrefix("@") { _ = try? TraceSelection(words: [text]) }
        let shown = TerminalText.neutralised(text)
        Fuzz.require(!shown.unicodeScalars.contains { TerminalText.isUnsafe($0) }, "text for a terminal is harmless")
        Fuzz.require(!TerminalText.quoted(text).contains("\n"), "a quoted text is one line")
    }
}
