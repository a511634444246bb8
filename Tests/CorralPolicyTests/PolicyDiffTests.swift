import CorralPolicy
import RandomPolicies
import Testing

@Suite struct PolicyDiffTests {
    private func policy(_ egress: String, _ rest: String = "") throws -> Policy {
        try Policy(yaml: "apiVersion: corral/v1\nname: p\n\(rest)\negress:\n\(egress)\n", file: "p.yaml")
    }

    private func diff(_ old: String, _ new: String) throws -> PolicyDiff {
        try PolicyDiff(from: try policy(old), to: try policy(new), host: HostContext())
    }

    @Test func aPolicyIsEqualToItselfHoweverItIsWritten() throws {
        let one = """
              allow:
                - { cidr: 203.0.113.0/24, ports: [443, 80], protocol: tcp }
                - { cidr: 10.0.0.0/8 }
                - { domain: a.example, ports: [443] }
                - { domain: a.example, ports: [80] }
            """
        let other = """
              allow:
                - { domain: A.example., ports: ["80", 443] }
                - { cidr: 10.128.0.0/9 }
                - { cidr: 10.0.0.0/9 }
                - { cidr: 203.0.113.0/25, ports: [80], protocol: tcp }
                - { cidr: 203.0.113.128/25, ports: [80], protocol: tcp }
                - { cidr: 203.0.113.0/24, ports: [443], protocol: tcp }
            """
        #expect(try diff(one, one).isEmpty)
        let found = try diff(one, other)
        #expect(found.isEmpty && found.description.isEmpty, "\(found)")
    }

    @Test func namesEveryKindOfChange() throws {
        let found = try diff(
            """
              allow:
                - { cidr: 192.0.2.0/24, ports: [80], protocol: tcp }
                - { cidr: 198.51.100.0/24 }
                - { cidr: 203.0.113.0/24, ports: [80, 81], protocol: tcp }
                - { cidr: "2001:db8::/32", ports: [53], protocol: udp }
                - { domain: gone.example }
                - { domain: wider.example, ports: [80] }
                - { domain: refused.example }
              deny:
                - { cidr: 198.51.100.7/32 }
              limits: { bytes: 1MiB, rate: 10Mbit }
            """,
            """
              allow:
                - { cidr: 192.0.2.0/24, ports: [80, 443], protocol: tcp }
                - { cidr: 203.0.113.0/24, ports: [81, 82], protocol: tcp }
                - { cidr: "2001:db8::/33", ports: [53], protocol: udp }
                - { cidr: 10.1.0.0/16, protocol: [tcp, icmp] }
                - { domain: wider.example, ports: [80, 443] }
                - { domain: new.example, ports: [443], protocol: tcp }
              deny:
                - { domain: refused.example }
              limits: { bytes: 2MiB }
            """)
        #expect(
            found.description.split(separator: "\n").map(String.init) == [
                "allowed   10.1.0.0/16: nothing -> tcp, icmp",
                "wider     192.0.2.0/24: tcp 80 -> tcp 80, 443",
                "refused   198.51.100.0/30: tcp, udp -> nothing",
                "refused   198.51.100.4/31: tcp, udp -> nothing",
                "refused   198.51.100.6/32: tcp, udp -> nothing",
                "refused   198.51.100.8/29: tcp, udp -> nothing",
                "refused   198.51.100.16/28: tcp, udp -> nothing",
                "refused   198.51.100.32/27: tcp, udp -> nothing",
                "refused   198.51.100.64/26: tcp, udp -> nothing",
                "refused   198.51.100.128/25: tcp, udp -> nothing",
                "changed   203.0.113.0/24: tcp 80-81 -> tcp 81-82",
                "refused   2001:db8:8000::/33: udp 53 -> nothing",
                "refused   gone.example: tcp, udp -> nothing",
                "allowed   new.example: nothing -> tcp 443",
                "refused   refused.example: tcp, udp -> refused",
                "wider     wider.example: tcp 80; udp 80 -> tcp 80, 443; udp 80, 443",
                "setting   egress.limits.bytes: 1MiB -> 2MiB",
                "setting   egress.limits.rate: 10Mbit -> none",
            ])
    }

    @Test func namesAreJudgedByEveryRuleThatCoversThem() throws {
        let wild = "  allow: [{ domain: \"*.a.example\", ports: [443] }]"
        let both = "  allow: [{ domain: \"*.a.example\", ports: [443] }, { domain: x.a.example, ports: [443] }]"
        #expect(try diff(wild, both).isEmpty)
        #expect(
            try diff(wild, "  allow: [{ domain: \"*.a.example\", ports: [443] }, { domain: x.a.example, ports: [80] }]")
                .names
                .map { "\($0.kind) \($0.domain): \($0.before) -> \($0.after)" }
                == ["wider x.a.example: tcp 443; udp 443 -> tcp 80, 443; udp 80, 443"])
        #expect(
            try diff(wild, "  allow: [{ preset: internet }]\n  deny: [{ domain: \"*.b.a.example\" }]").names
                .map { "\($0.kind) \($0.domain): \($0.before) -> \($0.after)" } == [
                    "wider *.a.example: tcp 443; udp 443 -> tcp, udp",
                    "refused *.b.a.example: tcp 443; udp 443 -> refused",
                ])
    }

    @Test func tellsOfSettingsButNotOfSecrets() throws {
        let old = try policy("  allow: []", "env: { A: secret-one, B: x, C: y }\nlimits: { cpu: 0.5, timeout: 90s }")
        let new = try policy("  allow: [{ preset: internet }]", "env: { A: secret-two, B: x, D: z }\nmode: audit")
        let found = try PolicyDiff(from: old, to: new, host: HostContext())
        let fields = found.settings.map { "\($0.field): \($0.before ?? "-") \($0.after ?? "-")" }
        #expect(
            fields == [
                "mode: enforce audit", "names resolved: none all", "limits.cpu: 0.5 -", "limits.timeout: 90s -",
                "env.A: set set to another value", "env.C: set -", "env.D: - set",
            ])
        #expect(
            !found.description.contains("secret") && found.description.contains(" more blocks: nothing -> tcp, udp"))
    }

    /// Wherever two policies answer a probe differently the difference says so, and nowhere else.
    @Test func agreesWithWhatThePoliciesAnswer() throws {
        var random = RandomPolicy(seed: 21)
        let host = HostContext(sandboxPools: ["10.213.0.0/16"].compactMap { IPPrefix($0) })
        var counts = [false: 0, true: 0]
        for _ in 0..<150 {
            let (old, new) = (random.policy(), random.policy())
            let found = try PolicyDiff(from: old, to: new, host: host)
            let blocks = try found.addresses.flatMap(\.blocks).map { try #require(IPPrefix($0)) }
            for index in 0..<60 {
                let destination = random.destination(near: index % 2 == 0 ? old : new)
                // Port 0 is nobody's, and port 53 may be the resolver's.
                guard destination.proto == .icmp || ![0, 53].contains(destination.port) else { continue }
                let differs =
                    old.decide(destination, host: host).verdict != new.decide(destination, host: host).verdict
                let isNamed = blocks.contains { $0.contains(destination.address.judgedForTest) }
                if differs { #expect(isNamed, "\(destination): \(found)\n\(old)\n\(new)") }
                counts[differs, default: 0] += 1
                guard !isNamed else { continue }
                for port in [1, 80, 443, 65535] as [UInt16] {
                    let probe = Destination(address: destination.address, proto: .tcp, port: port)
                    #expect(old.decide(probe, host: host).verdict == new.decide(probe, host: host).verdict)
                }
            }
        }
        #expect(counts.values.allSatisfy { $0 > 500 }, "\(counts)")
    }

    @Test func largePoliciesAreComparedInTime() throws {
        let rules = (0..<100_000).map { index in
            EgressRule(
                target: .prefix(IPPrefix(IPAddress(ipv4: 0x1000_0000 + UInt32(index) << 9), length: 120)),
                ports: [443...443])
        }
        let (old, new) = (Policy(name: "p", allow: rules), Policy(name: "p", allow: Array(rules.dropFirst())))
        var found: PolicyDiff?
        let time = try ContinuousClock().measure { found = try PolicyDiff(from: old, to: new, host: HostContext()) }
        #expect(found?.description == "refused   16.0.0.0/24: tcp 443; udp 443 -> nothing")
        #expect(time < .seconds(3), "\(time)")
    }
}

extension IPAddress {
    /// Of the forms that carry IPv4, the IPv4 address; as the kernel judges.
    fileprivate var judgedForTest: IPAddress { judged }
}
