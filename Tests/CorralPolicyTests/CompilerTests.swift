import CorralPolicy
import RandomPolicies
import Testing

/// What the compiler makes of a policy, against the plain reading of it.
@Suite struct CompilerTests {
    static let host = HostContext(
        hostAddresses: ["192.0.2.1/32", "10.213.0.1/32", "2001:db8:ffff::1/128"].compactMap { IPPrefix($0) },
        sandboxPools: ["10.213.0.0/16", "fdc0:44a1:213::/64"].compactMap { IPPrefix($0) }
    )

    @Test func compiledPolicyAnswersAsThePlainReadingDoes() throws {
        var random = RandomPolicy(seed: 7)
        var pairs = 0
        var changed = 0
        var verdicts: [Reason: Int] = [:]
        for _ in 0..<400 {
            let policy = random.policy()
            let compiled = try policy.compile(host: Self.host)
            for _ in 0..<60 {
                let destination = random.destination(near: policy)
                let pins = random.pins(near: destination, policy)
                let expected = policy.decide(destination, host: Self.host, pins: pins)
                #expect(
                    compiled.decide(destination, pins: pins) == expected, "\(destination), \(pins) under \(policy)")
                if expected != policy.decide(destination, host: Self.host) { changed += 1 }
                verdicts[expected.reason, default: 0] += 1
                pairs += 1
            }
        }
        #expect(pairs >= 20_000)
        #expect(changed > 500)
        // The generator reaches every answer a policy has.
        for reason: Reason in [
            .allowedByRule, .noMatchingRule, .deniedByRule, .reservedAddress, .portNotAllowed, .protocolNotAllowed,
            .nameNotResolvedHere,
        ] {
            #expect(verdicts[reason, default: 0] > 100, "\(reason)")
        }
    }

    @Test func emptyPolicyAllowsNothing() throws {
        let compiled = try Policy(name: "none").compile(host: Self.host)
        let destination = try #require(IPAddress("203.0.113.9")).tcp(443)
        #expect(compiled.decide(destination) == Decision(.deny, .noMatchingRule))
        #expect(compiled.decide(try #require(IPAddress("127.0.0.1")).tcp(80)).reason == .reservedAddress)
    }

    @Test func eachPolicyWithNamesHasASetForEveryDomainAndEqualPortsShareOne() throws {
        let rules = ["a.example", "b.example", "*.c.example"].map {
            EgressRule(target: (try? DomainPattern($0)).map { .domain($0) } ?? .internet, ports: [443...443])
        }
        var policy = Policy(name: "names", allow: rules)
        policy.allow.append(EgressRule(target: rules[0].target, protocols: [.tcp, .udp, .icmp]))
        let compiled = try policy.compile(host: Self.host)
        #expect(compiled.resolvesNames && compiled.allowsICMP)
        #expect(compiled.namePorts.count == 4 && compiled.portSets.count == 2)
        #expect(
            Set([0, 1, 2].map { compiled.namePorts[$0] }).count == 1 && compiled.namePorts[0] != compiled.namePorts[3])
        let plain = try Policy(name: "plain").compile(host: Self.host)
        #expect(!plain.resolvesNames && plain.namePorts.isEmpty)
        #expect(try Policy(name: "all", allow: [EgressRule(target: .internet)]).compile(host: Self.host).resolvesNames)
    }

    @Test func denyAllAnswersNoPolicy() throws {
        let destination = try #require(IPAddress("203.0.113.9")).tcp(443)
        #expect(CompiledPolicy.denyAll.decide(destination) == Decision(.deny, .noPolicy))
    }
}

extension IPAddress {
    func tcp(_ port: UInt16) -> Destination { Destination(address: self, proto: .tcp, port: port) }
}
