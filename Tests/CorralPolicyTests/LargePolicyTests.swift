import CorralPolicy
import Testing

/// Policies of the size that a threat list has, and ones made to exhaust the compiler.
@Suite struct LargePolicyTests {
    static let host = HostContext(
        hostAddresses: ["192.0.2.1/32"].compactMap { IPPrefix($0) },
        sandboxPools: ["10.213.0.0/16"].compactMap { IPPrefix($0) }
    )

    private func block(_ index: Int, in first: UInt32, length: Int = 128) -> IPPrefix {
        IPPrefix(IPAddress(ipv4: first + UInt32(index) << UInt32(128 - length)), length: length)
    }

    private func problems(_ policy: Policy) -> [String] {
        do {
            _ = try policy.compile(host: Self.host)
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test func blocksWithEqualPortsShareOneSet() throws {
        // Twice as far apart as they are long, so that none can be merged with the next.
        let allow = (0..<100_000).map {
            EgressRule(target: .prefix(block(2 * $0, in: 0x1000_0000)), ports: [443...443], protocols: [.tcp])
        }
        let policy = Policy(name: "many", allow: allow)
        let clock = ContinuousClock()
        var compiled: CompiledPolicy?
        let time = try clock.measure { compiled = try policy.compile(host: Self.host) }
        let answer = try #require(compiled)
        #expect(answer.portSets.count == 1)
        #expect(answer.addresses.count < 100_100)
        #expect(time < .seconds(2), "\(time)")
        print("compiling 100,000 blocks: \(time)")
        for index in [0, 1, 77_777, 99_999] {
            let inside = block(2 * index, in: 0x1000_0000).address
            #expect(answer.decide(inside.tcp(443)) == Decision(.allow, .allowedByRule, rule: .allow(index)))
            #expect(answer.decide(inside.tcp(80)) == Decision(.deny, .portNotAllowed, rule: .allow(index)))
            let beside = block(2 * index + 1, in: 0x1000_0000).address
            #expect(answer.decide(beside.tcp(443)) == Decision(.deny, .noMatchingRule))
        }
    }

    @Test func blocksInsideAWiderRuleShareOneSetToo() throws {
        let wide = EgressRule(target: .prefix(block(0, in: 0x1000_0000, length: 104)), ports: [80...80])
        let narrow = (0..<20_000).map {
            EgressRule(target: .prefix(block(2 * $0, in: 0x1000_0000)), ports: [443...443])
        }
        let refused = (0..<20_000).map {
            EgressRule(target: .prefix(block(2 * $0 + 1, in: 0x1000_0000)), ports: [80...80], protocols: [.tcp])
        }
        let policy = Policy(name: "nested", allow: [wide] + narrow, deny: refused)
        let compiled = try policy.compile(host: Self.host)
        #expect(compiled.portSets.count <= 4)
        for index in [0, 5, 19_999] {
            for (block, port) in [(2 * index, 80), (2 * index, 443), (2 * index + 1, 80), (2 * index, 22)] {
                let destination = self.block(block, in: 0x1000_0000).address.tcp(UInt16(port))
                #expect(compiled.decide(destination) == policy.decide(destination, host: Self.host))
            }
        }
    }

    @Test func manyRulesOnOneBlockCompileInTimeAndTooManyAreRefused() throws {
        let target = EgressRule.Target.prefix(block(0, in: 0x1000_0000, length: 104))
        let ports: [ClosedRange<UInt16>] = (0..<512).map { index in
            let port = UInt16(1 + index * 100)
            return port...port
        }
        let most = (0..<Policy.maximumOverlap).map { EgressRule(target: target, ports: [ports[$0 % 512]]) }
        #expect(problems(Policy(name: "most", allow: most)).isEmpty)
        let found = problems(Policy(name: "more", allow: most + most.prefix(1)))
        #expect(found == [": egress: more than 1024 rules cover 16.0.0.0/8; expected fewer rules with more ports each"])
        let clock = ContinuousClock()
        let time = clock.measure {
            #expect(!problems(Policy(name: "far more", allow: Array(repeating: most[0], count: 200_000))).isEmpty)
        }
        #expect(time < .seconds(2), "\(time)")
    }

    @Test func worstNestingsAreRefusedInTime() {
        let ports: [ClosedRange<UInt16>] = (0..<1_000).map { index in
            let port = UInt16(2 * index + 1)
            return port...port
        }
        let outer = (0..<1_000).map { _ in
            EgressRule(target: .prefix(block(0, in: 0x1000_0000, length: 104)), ports: ports)
        }
        let inner = (0..<60_000).map { EgressRule(target: .prefix(block(2 * $0, in: 0x1000_0000)), ports: [443...443]) }
        let clock = ContinuousClock()
        for allow in [outer + inner, inner + outer] {
            let time = clock.measure { #expect(!problems(Policy(name: "worst", allow: allow)).isEmpty) }
            #expect(time < .seconds(5), "\(time)")
        }
        #expect(problems(Policy(name: "twin", allow: outer.prefix(3) + inner)).isEmpty)
    }

    @Test func aLongFileIsReadInTime() throws {
        var text = "apiVersion: corral/v1\nname: many\negress:\n  allow:\n"
        for index in 0..<100_000 {
            text += "    - { cidr: \(block(2 * index, in: 0x1000_0000)), ports: [443], protocol: tcp }\n"
        }
        let clock = ContinuousClock()
        var policy: Policy?
        let time = try clock.measure { policy = try Policy(yaml: text, file: "many.yaml") }
        #expect(policy?.allow.count == 100_000)
        #expect(policy?.allow.last?.line == 100_004)
        #expect(time < .seconds(3), "\(time)")
        print("reading 100,000 rules: \(time)")
    }
}
