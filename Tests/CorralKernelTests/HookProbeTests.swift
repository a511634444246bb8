import CLinux
import CorralPolicy
import Glibc
import Testing

@testable import CorralKernel

/// Each hook that is missing, or that lets pass, is found out before a sandbox could be handed out.
@Suite(.serialized, .enabled(if: Kernel.isAvailable, "needs root and a writable cgroup v2"))
struct HookProbeTests {
    @Test func hooksThatRefusePassAndNothingIsCharged() throws {
        let fixture = try SandboxFixture()
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        #expect(fixture.hooks.counters(of: 5).denied >= 5)
        try fixture.verify()
        try fixture.runProbe()
        let counters = fixture.hooks.counters(of: 5)
        #expect(counters.seq == 0 && counters.denied == 0 && counters.lost == 0)
        #expect(fixture.hooks.nextSequence(of: 5) == 1)
    }

    @Test(arguments: BpfPrograms.cgroupHooks.map(\.name))
    func aCgroupHookThatIsMissingIsFound(hook: String) throws {
        let fixture = try SandboxFixture(withoutCall: hook)
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        #expect(fixture.probe.silentHooks == [hook])
        let unverified = #expect(throws: KernelError.self) { try fixture.verify() }
        #expect(unverified?.subject.hasPrefix(hook) == true)
        let unproven = #expect(throws: KernelError.self) { try fixture.runProbe() }
        #expect(unproven?.detail?.contains(hook) == true)
    }

    @Test(arguments: ["from_sandbox", "to_sandbox"])
    func aVethHookThatIsMissingIsFound(hook: String) throws {
        let fixture = try SandboxFixture()
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        try fixture.takeOffVethHook(hook)
        let unverified = #expect(throws: KernelError.self) { try fixture.verify() }
        #expect(unverified?.subject.hasPrefix(hook) == true)
        let unproven = #expect(throws: KernelError.self) { try fixture.runProbe() }
        #expect(unproven?.detail?.contains("\(hook) did not deny") == true)
    }

    /// Attached as they should be, so that a query finds nothing wrong: what they do is.
    @Test func hooksThatLetPassAreFound() throws {
        var policy = CompiledPolicy.denyAll
        policy.audit = true
        let fixture = try SandboxFixture(policy: policy)
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        try fixture.verify()
        #expect(fixture.probe.silentHooks == ["connect4", "connect6", "sendmsg4", "sendmsg6"])
        #expect(throws: KernelError.self) { try fixture.runProbe() }
    }

    @Test func theFrameToTheSandboxHasAWrongChecksum() throws {
        for number in 0..<70_000 as Range<UInt32> {
            let identity = SandboxIdentity(
                slot: 0, epoch: 1, ipv4: IPAddress(ipv4: 0x0ad5_0000 &+ number), ipv6: IPAddress(high: 0, low: 1),
                mac: [2, 0, 0, 0, 0, 1], gatewayMAC: [2, 0, 0, 0, 0, 2])
            let header = identity.unsolicitedFrame[14..<34]
            var sum: UInt32 = 0
            for index in stride(from: 14, to: 34, by: 2) {
                sum += UInt32(header[index]) << 8 | UInt32(header[index + 1])
            }
            try #require(sum % 0xffff != 0)
        }
    }
}
