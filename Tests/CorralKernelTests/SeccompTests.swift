import CLinux
import CorralPolicy
import Glibc
import Testing

@testable import CorralKernel

@Suite struct SeccompTests {
    private let program: [UInt8]

    init() throws { program = try SeccompProgram.compile(SyscallPolicy().resolved) }

    /// errno of the call under the program, 0 for success, minus the signal that it ends with.
    private func outcome(_ call: String, _ arguments: UInt64...) throws -> Int32 {
        try outcome(call, arguments, program)
    }

    private func outcome(_ call: String, _ program: [UInt8]) throws -> Int32 { try outcome(call, [], program) }

    private func outcome(_ call: String, _ arguments: [UInt64], _ program: [UInt8]) throws -> Int32 {
        let padded = arguments + Array(repeating: 0, count: 6 - arguments.count)
        return corral_seccomp_try(program, program.count, Int(try SeccompProgram.number(of: call)), padded)
    }

    private func compiled(_ syscalls: SyscallPolicy) throws -> [UInt8] { try SeccompProgram.compile(syscalls.resolved) }

    @Test func isAProgramThatTheKernelTakes() {
        #expect(program.count % 8 == 0)
        #expect(program.count > 800 && program.count <= 4096 * 8)
    }

    @Test(arguments: ["getpid", "getuid", "sched_yield", "sync", "getppid"])
    func allowsOrdinaryCalls(call: String) throws {
        #expect(try outcome(call) == 0)
    }

    @Test(arguments: [
        "bpf", "io_uring_setup", "userfaultfd", "keyctl", "add_key", "request_key", "init_module", "finit_module",
        "kexec_load", "mount", "umount2", "pivot_root", "unshare", "setns", "ptrace", "process_vm_readv", "reboot",
        "perf_event_open", "swapon", "open_by_handle_at", "quotactl", "acct", "settimeofday", "iopl", "ioperm",
        "fsopen", "open_tree", "move_mount", "mount_setattr", "fspick", "fsmount", "pidfd_getfd", "kcmp", "chroot",
    ])
    func refusesCallsOfTheHost(call: String) throws {
        #expect(try outcome(call) == EPERM)
    }

    @Test func callsThatDoNotExistYetAreAbsent() throws {
        for call in ["statmount", "lsm_list_modules", "file_setattr"] { #expect(try outcome(call) == ENOSYS) }
        #expect(corral_seccomp_try(program, program.count, 5000, [UInt64](repeating: 0, count: 6)) == ENOSYS)
        #expect(try outcome("clone3") == ENOSYS)
    }

    @Test func socketsAreOfTheFamiliesThatThePolicySees() throws {
        let datagram = UInt64(SOCK_DGRAM.rawValue), raw = UInt64(SOCK_RAW.rawValue)
        for family: UInt64 in [1, 2, 10] { #expect(try outcome("socket", family, datagram) == 0) }
        #expect(try outcome("socket", 16, raw, 0) == 0)
        // Netfilter, packet, alg, vsock; high bits that the kernel does not look at change nothing.
        #expect(try outcome("socket", 16, raw, 12) == EPERM)
        for family: UInt64 in [17, 38, 40, 1 << 32 | 40] { #expect(try outcome("socket", family, datagram) == EPERM) }
        #expect(try outcome("socket", 1 << 32 | 2, datagram) == 0)
    }

    @Test func cloneMakesProcessesButNoNamespaces() throws {
        #expect(try outcome("clone", UInt64(SIGCHLD)) == 0)
        for flag: UInt64 in [0x20000, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000] {
            #expect(try outcome("clone", flag | UInt64(SIGCHLD)) == EPERM)
        }
    }

    @Test func terminalsTakeNoInjectedInput() throws {
        // On a descriptor that is none: the filter answers before the kernel looks.
        for request: UInt64 in [0x5412, 0x541C, 1 << 32 | 0x5412, 0xFFFF_FFFF_0000_541C] {
            #expect(try outcome("ioctl", 9999, request) == EPERM)
        }
        for request: UInt64 in [0x5401, 0x5413, 0x541B] { #expect(try outcome("ioctl", 9999, request) == EBADF) }
    }

    @Test func personalitiesThatWeakenTheProcessAreRefused() throws {
        #expect(try outcome("personality", 0xFFFF_FFFF) == 0)
        #expect(try outcome("personality", 0x0040000) == EPERM)
    }

    @Test func otherInstructionSetsHaveNoCalls() throws {
        #expect(corral_seccomp_try_i386(program, program.count) == ENOSYS)
        #expect(
            corral_seccomp_try(program, program.count, 0x4000_0000 | 39, [UInt64](repeating: 0, count: 6)) == ENOSYS)
    }

    @Test func processesDoNotDispatchTheirCallsThemselves() throws {
        #expect(try outcome("prctl", 59, 0) == EPERM)
        #expect(try outcome("prctl", 3) < 2)
    }

    // MARK: other profiles

    @Test func strictHasNoSocketsAndFewRequests() throws {
        let strict = try compiled(SyscallPolicy(profile: .strict))
        for call in ["getpid", "sched_yield", "getuid"] { #expect(try outcome(call, strict) == 0) }
        for call in [
            "socket", "socketpair", "bpf", "chown", "setuid", "memfd_create", "inotify_init", "shmget", "mq_unlink",
        ] {
            #expect(try outcome(call, strict) == EPERM, "\(call)")
        }
        #expect(try outcome("ioctl", [9999, 0x5401], strict) == EBADF)
        #expect(try outcome("ioctl", [9999, 0x5412], strict) == EPERM)
        #expect(try outcome("ioctl", [9999, 0x8933], strict) == EPERM)
        #expect(try outcome("prctl", [38, 1], strict) == 0)
        #expect(try outcome("prctl", [36, 1], strict) == EPERM)
    }

    @Test func noneHasWhatIsAllowedAlone() throws {
        let one = try compiled(SyscallPolicy(profile: .none, allow: ["getpid", "socket"]))
        for call in ["getpid", "sched_yield"] { #expect(try outcome(call, one) == 0) }
        for call in ["getppid", "mkdirat", "setpriority", "read"] {
            #expect(try outcome(call, one) == EPERM, "\(call)")
        }
        #expect(try outcome("socket", [1, 1, 0], one) == 0)
        #expect(try outcome("socket", [17, 3, 0], one) == EPERM)
        #expect(try outcome("clone3", one) == ENOSYS)
    }

    @Test func unconfinedRefusesOtherInstructionSetsAlone() throws {
        let unconfined = try compiled(SyscallPolicy(profile: .unconfined))
        #expect(try outcome("getpid", unconfined) == 0)
        // The kernel itself answers: no such key, no such process.
        #expect(try outcome("keyctl", [6, 0], unconfined) != EPERM)
        #expect(try outcome("personality", [0x0040000], unconfined) == 0)
        #expect(corral_seccomp_try_i386(unconfined, unconfined.count) == ENOSYS)
    }

    @Test func allowOpensAndKeepsConditions() throws {
        let opened = try compiled(SyscallPolicy(allow: ["ptrace", "socket", "clone3"]))
        // PTRACE_TRACEME
        #expect(try outcome("ptrace", [0], opened) == 0)
        #expect(try outcome("ptrace", program) == EPERM)
        #expect(try outcome("socket", [40, UInt64(SOCK_DGRAM.rawValue)], opened) == EPERM)
        #expect(try outcome("clone3", [0, 0], opened) == EINVAL)
    }

    @Test func anyArgumentsLiftsConditions() throws {
        let opened = try compiled(SyscallPolicy(allowAnyArguments: ["socket", "ioctl"]))
        #expect(try outcome("socket", [3, UInt64(SOCK_DGRAM.rawValue)], opened) != EPERM)
        #expect(try outcome("ioctl", [9999, 0x5412], opened) == EBADF)
    }

    @Test(arguments: SyscallPolicy.Profile.allCases)
    func denyBeatsAllow(profile: SyscallPolicy.Profile) throws {
        var syscalls = SyscallPolicy(profile: profile, allow: ["getppid", "getpid", "sched_yield", "ptrace", "getuid"])
        syscalls.deny("getppid", .errno)
        syscalls.deny("getpid", .kill)
        syscalls.deny("sched_yield", .log)
        let program = try compiled(syscalls)
        #expect(try outcome("getppid", program) == EPERM)
        #expect(try outcome("getpid", program) == -SIGSYS)
        #expect(try outcome("sched_yield", program) == 0)
        #expect(try outcome("ptrace", [0], program) == 0)
        #expect(try outcome("getuid", program) == 0)
    }

    @Test func logNeverOpensWhatWasShut() throws {
        var syscalls = SyscallPolicy()
        syscalls.deny("ptrace", .log)
        syscalls.deny("socket", .log)
        syscalls.deny("ioctl", .log)
        let program = try compiled(syscalls)
        #expect(try outcome("ptrace", program) == EPERM)
        #expect(try outcome("socket", [2, UInt64(SOCK_DGRAM.rawValue)], program) == 0)
        #expect(try outcome("socket", [40, UInt64(SOCK_DGRAM.rawValue)], program) == EPERM)
        #expect(try outcome("ioctl", [9999, 0x5412], program) == EPERM)
        #expect(try outcome("ioctl", [9999, 0x5401], program) == EBADF)
    }

    @Test func equalProfilesMakeEqualPrograms() throws {
        let one = SyscallPolicy(profile: .strict, allow: ["ptrace", "kcmp", "bpf"], deny: ["openat2": .kill])
        #expect(try compiled(one) == compiled(one))
        #expect(try compiled(one) != compiled(SyscallPolicy(profile: .strict)))
    }

    @Test func everyGroupCompiles() throws {
        for group in SyscallGroups.all {
            var syscalls = SyscallPolicy(allow: Set(group.calls))
            #expect(try compiled(syscalls).count <= 4096 * 8)
            for call in group.calls where call != "execve" { syscalls.deny(call, .kill) }
            #expect(try compiled(syscalls).count <= 4096 * 8)
        }
    }

    @Test func unknownNamesAreErrors() {
        #expect(throws: KernelError.self) { _ = try SeccompProgram.number(of: "no_such_call") }
    }
}
