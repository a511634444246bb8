import Testing

@testable import CorralPolicy

@Suite struct KernelOperationTests {
    private func permitted(_ policy: SyscallPolicy) -> Set<KernelOperation> { policy.resolved.permittedOperations }

    @Test(arguments: [SyscallPolicy.Profile.standard, .strict, .none])
    func noProfilePermitsAnyButUnconfined(profile: SyscallPolicy.Profile) {
        #expect(permitted(SyscallPolicy(profile: profile)) == [])
    }

    @Test func unconfinedPermitsAllThatAPolicyCan() {
        #expect(permitted(SyscallPolicy(profile: .unconfined)) == Set(KernelOperation.allCases).subtracting([.receive]))
    }

    @Test func aCallPermitsItsOperationAlone() {
        for operation in KernelOperation.allCases {
            for call in operation.permittingCalls {
                #expect(permitted(SyscallPolicy(allow: [call])) == [operation], "\(call)")
                #expect(SyscallTable.number(call, .amd64) != nil, "\(call)")
            }
        }
    }

    @Test func denyBeatsAllow() {
        var policy = SyscallPolicy(profile: .unconfined)
        for call in KernelOperation.mount.permittingCalls { policy.deny(call, .errno) }
        #expect(!permitted(policy).contains(.mount) && permitted(policy).contains(.ptrace))
        // Logged calls are made.
        policy = SyscallPolicy(allow: ["bpf"])
        policy.deny("bpf", .log)
        #expect(permitted(policy) == [.bpf])
    }

    @Test func compiledPoliciesCarryThem() throws {
        var policy = Policy(name: "p", syscalls: SyscallPolicy(allow: ["ptrace"]))
        #expect(try policy.compile(host: HostContext()).operations == [.ptrace])
        policy.syscalls = SyscallPolicy()
        #expect(try policy.compile(host: HostContext()).operations == [])
        #expect(CompiledPolicy.denyAll.operations == [])
    }

    @Test func everyHintNamesACallThatHelpsOrSaysThatNoneDoes() {
        for operation in KernelOperation.allCases {
            if let call = operation.permittingCalls.first {
                #expect(operation.hint.hasSuffix("add \(call) to syscalls.allow"))
            } else {
                #expect(operation.hint.contains("no policy can permit it"))
            }
        }
    }
}
