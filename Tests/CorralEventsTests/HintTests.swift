import CorralABI
import CorralEvents
import CorralPolicy
import Testing

@Suite struct HintTests {
    private let context = DecisionContext(
        sandbox: SandboxReference(id: "sb-1", name: "a"), bootTime: 0, uidBase: 0, uidCount: 1,
        policy: PolicyReference(name: "p", generation: 1)
    )

    private func hint(_ change: (inout WireRecord) -> Void) throws -> String? {
        var record = WireRecord()
        change(&record)
        return try WireDecision(bytes: record.bytes).event(in: context).traffic?.hint
    }

    @Test func everyRefusalHasAOneLineHintAndNoPermissionHasOne() throws {
        for reason in Reason.allCases where reason != .allowedByRule {
            for verdict in [Verdict.deny, .wouldDeny] {
                for family in [UInt8(0), 4] {
                    let text = try #require(
                        try hint {
                            $0.set(\.reason, reason.abi)
                            $0.set(\.verdict, verdict.abi)
                            $0.set(\.family, family)
                        }
                    )
                    #expect(!text.isEmpty && !text.contains("\n"))
                }
            }
        }
        #expect(
            try hint {
                $0.set(\.reason, Reason.allowedByRule.abi)
                $0.set(\.verdict, Verdict.allow.abi)
            } == nil
        )
    }

    @Test func theHintNamesTheRuleAndWhatItLacks() throws {
        #expect(
            try hint {
                $0.set(\.reason, Reason.portNotAllowed.abi)
                $0.set(\.rule, RuleReference.allow(2).abi)
            } == "egress.allow[2] covers 203.0.113.9 but not port 443; add it to the rule's ports"
        )
        #expect(
            try hint {
                $0.set(\.reason, Reason.protocolNotAllowed.abi)
                $0.set(\.rule, RuleReference.allow(2).abi)
                $0.set(\.protocol, 17 as UInt8)
            } == "egress.allow[2] covers 203.0.113.9 but not udp; add udp to the rule's protocol"
        )
        for reason in [Reason.noMatchingRule, .reservedAddress] {
            #expect(
                try hint {
                    $0.set(\.reason, reason.abi)
                    $0.set(\.port, 53)
                    $0.set(\.protocol, 17 as UInt8)
                } == "no rule of egress.allow names a domain, so no name is resolved here; to permit names add "
                    + "{ domain: NAME, ports: [443] }"
            )
        }
        #expect(
            try hint {
                $0.set(\.reason, Reason.protocolNotAllowed.abi)
                $0.set(\.protocol, 47 as UInt8)
            } == "only tcp, udp and icmp echo can leave a sandbox; no policy can permit ip-47"
        )
    }

    @Test func theRuleToAddIsTheNarrowestOne() throws {
        #expect(
            try hint { $0.set(\.protocol, 17 as UInt8) }?.hasSuffix(
                "{ cidr: 203.0.113.9/32, ports: [443], protocol: udp }") == true)
        #expect(
            try hint {
                $0.set(\.protocol, 1 as UInt8)
                $0.set(\.port, 0 as UInt16)
            }?.hasSuffix("{ cidr: 203.0.113.9/32, protocol: icmp }") == true
        )
    }
}
