import CorralPolicy
import Glibc
import Testing

@testable import CorralKernel

/// The hooks that judge paths are there when a policy needs them, and a policy that needs them is refused where they cannot be.
@Suite(.serialized, .enabled(if: VerdictTests.canRun, "needs root"))
struct PathHooksTests {
    private func programs(_ name: String) throws -> (String, BpfPrograms) {
        try Bpffs.ensureMounted(at: "/sys/fs/bpf")
        let instance = "paths-test-\(getpid())-\(name)"
        return (instance, try BpfPrograms(directory: PinDirectory.make(instance)))
    }

    private let compiled = CompiledPolicy(
        audit: false, allowsICMP: false, addresses: CompiledPolicy.denyAll.addresses, portSets: [],
        paths: CompiledPaths(Policy.FileRules([.read: PathRules(deny: [PathRule("/etc/shadow")])])))

    @Test func theyComeWithTheFirstPolicyThatNeedsThem() throws {
        let (instance, programs) = try programs("first")
        defer { try? PinDirectory.remove(instance) }
        let pins = "\(programs.directory)/\(PinDirectory.files)"
        let lsm = LsmHooks(programs: programs)
        let paths = PathHooks(programs: programs, lsm: lsm)
        #expect(paths.failure == nil && paths.object == nil)
        #expect(PinDirectory.entries(of: pins).isEmpty)
        guard lsm.isEnforced else {
            let error = #expect(throws: KernelError.self) { try paths.require() }
            #expect(error?.errno == ENOTSUP && error?.detail?.hasPrefix("lsm: absent; ") == true)
            return
        }
        try paths.require()
        let object = try #require(paths.object)
        #expect(PinDirectory.entries(of: pins).sorted() == object.programNames.sorted())
        try paths.require()
        #expect(paths.object === object)

        // The next daemon's: there where a policy is left that needs them, and only there.
        do {
            let policy = try PolicyMap(compiled, number: 7, in: programs)
            #expect(PathHooks(programs: programs, lsm: lsm).object != nil)
            #expect(policy.number == 7)
        }
        try Self.wait { PathRuleMap.numbers(in: try programs.map("path_rules")).isEmpty }
        #expect(PathHooks(programs: programs, lsm: lsm).object == nil)
        #expect(PinDirectory.entries(of: pins).isEmpty)
    }

    /// The table of rules needs no LSM.
    @Test func rulesAreThereAsLongAsTheirPolicy() throws {
        let (instance, programs) = try programs("rules")
        defer { try? PinDirectory.remove(instance) }
        let hooks = try SandboxHooks(programs: programs)
        func numbers() throws -> [UInt32] { PathRuleMap.numbers(in: try programs.map("path_rules")).sorted() }
        var first: PolicyMap? = try PolicyMap(compiled, number: 3, in: programs)
        let second = try PolicyMap(compiled, number: 4, in: programs)
        #expect(try numbers() == [3, 4])
        #expect(first?.number == 3)
        first = nil
        try Self.wait { try numbers() == [4] }

        // Those that are adopted last as long as who keeps them.
        try hooks.apply(second, to: 5)
        do {
            let looked = try hooks.policy(of: 5, namePorts: [:])
            #expect(looked.number == 4)
        }
        usleep(100_000)
        #expect(try numbers() == [4])
        try hooks.sweepPathRules(keeping: [4])
        #expect(try numbers() == [4])
        try hooks.sweepPathRules(keeping: [9])
        #expect(try numbers() == [])
        #expect(second.number == 4)
        // Without an instance there is no place for them.
        #expect(throws: KernelError.self) { try PolicyMap(compiled, number: 8) }
    }

    private static func wait(until isSo: () throws -> Bool) throws {
        for _ in 0..<10_000 {
            if try isSo() { return }
            usleep(1000)
        }
        Issue.record("waited in vain")
    }
}
