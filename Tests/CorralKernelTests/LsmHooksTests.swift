import Glibc
import Testing

@testable import CorralKernel

/// Either the hooks refuse what is asked of them on purpose, or nothing of them is there: never anything in between.
@Suite(.serialized, .enabled(if: VerdictTests.canRun, "needs root"))
struct LsmHooksTests {
    @Test func theyEnforceExactlyWhereTheKernelAsksThem() throws {
        try Bpffs.ensureMounted(at: "/sys/fs/bpf")
        let instance = "lsm-test-\(getpid())"
        defer { try? PinDirectory.remove(instance) }
        let programs = try BpfPrograms(directory: PinDirectory.make(instance))
        let pins = "\(programs.directory)/\(PinDirectory.lsm)"
        let hooks = LsmHooks(programs: programs)
        #expect(hooks.isEnforced == (hooks.reason == nil))
        #expect(hooks.isEnforced == (LsmHooks.activeList?.contains("bpf") == true))
        guard let object = hooks.object else {
            #expect(PinDirectory.entries(of: pins).isEmpty)
            return
        }
        #expect(PinDirectory.entries(of: pins).sorted() == object.programNames.sorted())

        // The next daemon's: its own are on before the earlier ones go.
        let next = LsmHooks(programs: programs)
        #expect(next.isEnforced)
        Self.waitUntilGone(hooks)
        #expect(PinDirectory.entries(of: pins).sorted() == object.programNames.sorted())

        for name in PinDirectory.entries(of: pins) { unlink("\(pins)/\(name)") }
        Self.waitUntilGone(next)
    }

    /// The kernel detaches a link some time after its last pin is gone.
    private static func waitUntilGone(_ hooks: LsmHooks) {
        for _ in 0..<5000 where hooks.isEnforced { usleep(1000) }
        #expect(!hooks.isEnforced)
    }
}
