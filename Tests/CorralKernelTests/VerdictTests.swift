import CLinux
import CorralEvents
import CorralPolicy
import Glibc
import RandomPolicies
import Testing

@testable import CorralKernel

/// The real program, on frames made here, against the plain reading of the policy.
@Suite struct VerdictTests {
    static let canRun = geteuid() == 0 || getenv("CORRAL_REQUIRE_KERNEL") != nil

    @Test(.enabled(if: canRun, "needs root"))
    func theProgramAnswersAsThePlainReadingDoes() throws {
        let host = HostContext(
            hostAddresses: ["192.0.2.1/32", "10.213.0.1/32", "2001:db8:ffff::1/128"].compactMap { IPPrefix($0) },
            sandboxPools: ["10.213.0.0/16", "fdc0:44a1:213::/64"].compactMap { IPPrefix($0) }
        )
        try Bpffs.ensureMounted(at: "/sys/fs/bpf")
        let instance = "verdict-test-\(getpid())"
        defer { try? PinDirectory.remove(instance) }
        let programs = try BpfPrograms(directory: PinDirectory.make(instance))
        let hooks = try SandboxHooks(programs: programs)
        let identity = SandboxIdentity(
            slot: 3, epoch: 77, ipv4: try #require(IPAddress("10.213.0.4")),
            ipv6: try #require(IPAddress("fdc0:44a1:213::4")),
            mac: [2, 0xc0, 0, 0, 0, 3], gatewayMAC: [2, 0xc1, 0, 0, 0, 3]
        )
        // A run without an interface of its own comes from the loopback interface.
        try hooks.write(identity, ifindex: 1)
        try hooks.learn(ifindex: 1, slot: identity.slot)
        let program = try programs.vethProgram("from_sandbox")

        var random = RandomPolicy(seed: 11)
        var pairs = 0
        var reasons: [Reason: Int] = [:]
        var pinned: [Reason: Int] = [:]
        for number in UInt32(2)..<302 {
            let policy = random.policy()
            let compiled = try policy.compile(host: host)
            let map = try PolicyMap(compiled, number: number)
            try hooks.apply(map, to: identity.slot)
            for index in 0..<40 as Range<UInt16> {
                let destination = random.destination(near: policy)
                let pins = random.pins(near: destination, policy)
                try pin(pins, compiled, map, identity, hooks)
                let expected = policy.decide(destination, host: host, pins: pins)
                let got: Decision
                if policy.resolvesNames && destination.port == 53 {
                    // The frame itself would go to the resolver, which there is none of.
                    got = try hooks.ask(destination, of: identity)
                } else {
                    let frame = Frame.make(from: identity, to: destination, sourcePort: 1024 + index)
                    var answer = [UInt32](repeating: .max, count: 4)
                    var result: UInt32 = .max
                    try #require(corral_bpf_test_run(program, frame, frame.count, 1, &answer, &result) == 0)
                    got = Decision(
                        try #require(Verdict(abi: UInt8(answer[0]))), try #require(Reason(abi: UInt8(answer[1]))),
                        rule: RuleReference(abi: answer[2]))
                    #expect(result == (expected.verdict == .allow ? 0 : 2))
                }
                #expect(got == expected, "\(destination), \(pins): \(got), not \(expected), under \(policy)")
                reasons[expected.reason, default: 0] += 1
                if !pins.isEmpty { pinned[expected.reason, default: 0] += 1 }
                for pin in pins { try hooks.pin(pin.address.judged, [], of: identity, policy: map) }
                pairs += 1
            }
        }
        #expect(pairs >= 10_000)
        for reason: Reason in [
            .allowedByRule, .noMatchingRule, .deniedByRule, .reservedAddress, .portNotAllowed, .protocolNotAllowed,
            .nameNotResolvedHere,
        ] {
            #expect(reasons[reason, default: 0] > 40, "\(reason)")
        }
        for reason: Reason in [.allowedByRule, .portNotAllowed, .nameNotResolvedHere, .deniedByRule, .reservedAddress] {
            #expect(pinned[reason, default: 0] > 40, "\(reason)")
        }
    }

    /// What the resolver would have written.
    private func pin(
        _ pins: [Pin], _ policy: CompiledPolicy, _ map: PolicyMap, _ identity: SandboxIdentity, _ hooks: SandboxHooks
    ) throws {
        guard let address = pins.first?.address else { return }
        let rules = try pins.map { pin in
            PinnedRule(
                expires: pin.isExpired ? 1 : .max, portSet: try #require(policy.namePorts[pin.rule]), rule: pin.rule)
        }
        try hooks.pin(address.judged, rules, of: identity, policy: map)
    }
}

@Suite struct LargePolicyMapTests {
    @Test(.enabled(if: VerdictTests.canRun, "needs root"))
    func aHundredThousandBlocksFitTheKernel() throws {
        let allow = (0..<100_000).map { index in
            EgressRule(
                target: .prefix(IPPrefix(IPAddress(ipv4: 0x1000_0000 + UInt32(index) << 9), length: 120)),
                ports: [443...443], protocols: [.tcp])
        }
        let policy = Policy(name: "large", allow: allow)
        let compiled = try policy.compile(host: HostContext())
        #expect(compiled.addresses.count > 100_000)
        #expect(try PolicyMap(compiled, number: 2).number == 2)
    }
}

/// Ethernet frames as a sandbox would send them; checksums are zero, since the program reads none.
private enum Frame {
    static func make(from sandbox: SandboxIdentity, to destination: Destination, sourcePort: UInt16) -> [UInt8] {
        let isIPv4 = destination.address.ipv4 != nil
        var payload: [UInt8]
        let number: UInt8
        switch destination.proto {
        case .tcp:
            number = 6
            payload = word(sourcePort) + word(destination.port) + [UInt8](repeating: 0, count: 8) + [0x50, 0x02]
            payload += [UInt8](repeating: 0, count: 6)
        case .udp:
            number = 17
            payload = word(sourcePort) + word(destination.port) + [0, 8, 0, 0]
        case .icmp:
            number = isIPv4 ? 1 : 58
            payload = [isIPv4 ? 8 : 128, 0, 0, 0] + word(sourcePort) + [0, 1]
        }
        let ethernet = sandbox.gatewayMAC + sandbox.mac + (isIPv4 ? [0x08, 0x00] : [0x86, 0xdd])
        if isIPv4 {
            let header: [UInt8] = [0x45, 0] + word(UInt16(20 + payload.count)) + [0, 0, 0, 0, 64, number, 0, 0]
            return ethernet + header + sandbox.ipv4.networkBytes.suffix(4) + destination.address.networkBytes.suffix(4)
                + payload
        }
        let header: [UInt8] = [0x60, 0, 0, 0] + word(UInt16(payload.count)) + [number, 64]
        return ethernet + header + sandbox.ipv6.networkBytes + destination.address.networkBytes + payload
    }

    private static func word(_ value: UInt16) -> [UInt8] {
        [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)]
    }
}
