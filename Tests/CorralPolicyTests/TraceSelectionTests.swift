import Testing

@testable import CorralPolicy

@Suite struct TraceSelectionTests {
    private func policy(_ trace: String) throws -> Policy {
        try Policy(yaml: "apiVersion: corral/v1\nname: p\ntrace: { syscalls: \(trace) }\n", file: "p.yaml")
    }

    private func problem(_ trace: String) -> String {
        do {
            _ = try policy(trace)
            return "none"
        } catch {
            return "\(error)"
        }
    }

    @Test func aPolicySaysWhatIsTold() throws {
        #expect(try policy("none").trace == .none)
        #expect(try policy("counts").trace == .counts)
        #expect(try policy("first").trace == .first)
        #expect(try policy("all").trace == .all)
        #expect(try policy("[openat, execve]").trace == .calls(["openat", "execve"]))
        #expect(try policy("[]").trace == .none)
        guard case .calls(let names) = try policy("[openat, \"@network\"]").trace else { return #expect(Bool(false)) }
        #expect(names.isSuperset(of: ["openat", "connect", "sendto", "accept4"]))
        #expect(!names.contains("read"))
    }

    @Test func aNameThatIsNoneIsRefusedWithTheNearest() {
        #expect(problem("[opneat]").contains("p.yaml:3"))
        #expect(
            problem("[opneat]").contains(
                "trace.syscalls[0]: \"opneat\" is no system call and no group of them; expected openat"))
        #expect(problem("[openat, \"@netwrk\"]").contains("expected @network"))
        #expect(problem("[xyzzyxyzzyxyzzy]").contains("expected a name such as openat"))
        #expect(problem("some").contains("expected none, counts, first, all, or a list"))
        #expect(problem("[[openat]]").contains("trace.syscalls[0]"))
    }

    @Test func whatSeveralAskForIsTheSum() {
        #expect(TraceSelection.none.union(.counts) == .counts)
        #expect(TraceSelection.calls(["a"]).union(.counts) == .calls(["a"]))
        #expect(TraceSelection.calls(["a"]).union(.calls(["b"])) == .calls(["a", "b"]))
        #expect(TraceSelection.calls(["a"]).union(.all) == .all)
        #expect(TraceSelection.none.union(.none) == .none)
        #expect(TraceSelection.counts.union(.first) == .first)
        #expect(TraceSelection.calls(["a"]).union(.first) == .firstAnd(["a"]))
        #expect(TraceSelection.firstAnd(["a"]).union(.calls(["b"])) == .firstAnd(["a", "b"]))
        #expect(TraceSelection.counts.union(.firstAnd(["a"])) == .firstAnd(["a"]))
        #expect(TraceSelection.firstAnd(["a"]).union(.all) == .all)
    }

    @Test func everyGroupHoldsCallsThatExist() {
        for group in SyscallGroups.all {
            #expect(group.calls.count > 5)
            for call in group.calls { #expect(SyscallTable.isName(call), "@\(group.name): \(call)") }
        }
    }

    @Test func numbersAreThoseOfTheKernel() {
        let known: [(String, SyscallABI, UInt32)] = [
            ("read", .amd64, 0), ("openat", .amd64, 257), ("pidfd_send_signal", .amd64, 424),
            ("mseal", .amd64, 462),
            ("openat", .i386, 295), ("exit", .i386, 1), ("execve", .x32, 520), ("read", .x32, 0),
            ("openat", .arm64, 56), ("execve", .arm64, 221), ("clone3", .arm64, 435),
        ]
        for (name, abi, number) in known {
            #expect(SyscallTable.number(name, abi) == number, "\(name) of \(abi)")
            #expect(SyscallTable.name(number, abi) == name, "\(number) of \(abi)")
        }
        #expect(SyscallTable.name(400, .amd64) == nil)
        #expect(SyscallTable.number("fork", .arm64) == nil)
        for abi in SyscallABI.ofCalls { #expect(SyscallTable.names(abi).count > 290) }
    }

    @Test func operationsOfIoUringGoWithTheCallThatSubmitsThem() {
        #expect(SyscallTable.name(16, .ioUring) == "IORING_OP_CONNECT")
        #expect(SyscallTable.number("IORING_OP_SENDMSG_ZC", .ioUring) == 48)
        #expect(SyscallTable.number("IORING_OP_PIPE", .ioUring) == 62)
        #expect(SyscallTable.isOfFile(ringOperation: "IORING_OP_CONNECT"))
        #expect(!SyscallTable.isOfFile(ringOperation: "IORING_OP_OPENAT"))
        #expect(TraceSelection.calls(["io_uring_enter"]).includes("IORING_OP_CONNECT", .ioUring))
        #expect(!TraceSelection.calls(["connect"]).includes("IORING_OP_CONNECT", .ioUring))
        // They are no calls: nothing that names calls takes them.
        #expect(!SyscallTable.isName("IORING_OP_CONNECT"))
        #expect(throws: UnknownSyscall.self) { try TraceSelection(words: ["IORING_OP_CONNECT"]) }
    }
}
