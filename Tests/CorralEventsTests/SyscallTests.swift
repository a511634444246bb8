import CorralABI
import CorralPolicy
import Testing

@testable import CorralEvents

/// Calls and processes, from the kernel's records to lines.
@Suite struct SyscallTests {
    private func arguments(
        _ name: String, _ arguments: [UInt64], _ captures: [SyscallCapture] = [], result: Int64 = 0,
        abi: SyscallABI = .amd64
    ) -> [String] {
        let padded = arguments + Array(repeating: 0, count: 6 - arguments.count)
        let decoder = SyscallDecoder(name: name, abi: abi, arguments: padded, result: result, captures: captures)
        return decoder.decoded()
    }

    private func capture(_ argument: Int, _ bytes: [UInt8], isCut: Bool = false) -> SyscallCapture {
        SyscallCapture(argument: argument, isCut: isCut, isReadable: true, bytes: bytes)
    }

    private func text(_ argument: Int, _ text: String) -> SyscallCapture { capture(argument, Array(text.utf8)) }

    private func little(_ values: UInt64...) -> [UInt8] {
        values.flatMap { value in (0..<8).map { UInt8(truncatingIfNeeded: value >> ($0 * 8)) } }
    }

    private let nowhere = UInt64(bitPattern: -100)

    @Test func opensShowFlagsAndTheModeOfWhatTheyMake() {
        #expect(
            arguments("openat", [nowhere, 1, 0o2000000], [text(1, "/etc/hosts")])
                == ["AT_FDCWD", "\"/etc/hosts\"", "O_RDONLY|O_CLOEXEC"])
        #expect(
            arguments("openat", [7, 1, 0o1101, 0o644], [text(1, "f")])
                == ["7", "\"f\"", "O_WRONLY|O_CREAT|O_TRUNC", "0644"])
        // The same bits mean other things on arm64.
        #expect(arguments("openat", [7, 1, 0o40000], [text(1, "d")])[2] == "O_RDONLY|O_DIRECT")
        #expect(arguments("openat", [7, 1, 0o40000], [text(1, "d")], abi: .arm64)[2] == "O_RDONLY|O_DIRECTORY")
        #expect(
            arguments("openat2", [nowhere, 1, 2, 24], [text(1, "f"), capture(2, little(0o100, 0o600, 8))])[2]
                == "{flags=O_RDONLY|O_CREAT, mode=0600, resolve=0x8}")
    }

    @Test func hostileTextIsWrittenOut() {
        #expect(arguments("chdir", [1], [text(0, "a\u{1b}[2J\"\\\n")]) == [#""a\033[2J\"\\\n""#])
        #expect(arguments("chdir", [1], [text(0, "bücher")]) == ["\"bücher\""])
        #expect(arguments("chdir", [1], [text(0, "a\u{202e}b")]) == [#""a\342\200\256b""#])
        #expect(arguments("chdir", [1], [capture(0, [0xff, 0x41])]) == [#""\377A""#])
        #expect(arguments("write", [1, 2, 3], [capture(1, [0, 0xc3, 0xbc])]) == ["1", #""\000\303\274""#, "3"])
    }

    @Test func whatIsNotThereIsMarked() {
        let lost = SyscallCapture(argument: 0, isCut: false, isReadable: false, bytes: [])
        #expect(arguments("chdir", [0x1000], [lost]) == ["0x1000 /* unreadable */"])
        #expect(arguments("chdir", [0]) == ["NULL"])
        #expect(arguments("chdir", [0x1000]) == ["0x1000"])
        #expect(arguments("write", [1, 2, 99], [capture(1, Array("abc".utf8), isCut: true)])[1] == "\"abc\"...")
        // A call without a table entry, and one that is too short to be what it says.
        #expect(arguments("vmsplice", [1, 2]) == ["0x1", "0x2", "0x0", "0x0", "0x0", "0x0"])
        #expect(arguments("connect", [3, 0x10, 1], [capture(1, [2])])[1] == "0x10")
    }

    @Test func addressesAreThoseOfStrace() {
        let ipv4: [UInt8] = [2, 0, 0, 80, 203, 0, 113, 9, 0, 0, 0, 0, 0, 0, 0, 0]
        #expect(
            arguments("connect", [3, 1, 16], [capture(1, ipv4)])[1]
                == "{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr(\"203.0.113.9\")}")
        let ipv6: [UInt8] = [10, 0, 1, 187, 0, 0, 0, 0, 0x20, 1, 0xd, 0xb8] + Array(repeating: 0, count: 11) + [9]
        #expect(
            arguments("bind", [3, 1, 28], [capture(1, ipv6)])[1]
                == "{sa_family=AF_INET6, sin6_port=htons(443), inet_pton(AF_INET6, \"2001:db8::9\")}")
        #expect(
            arguments("connect", [3, 1, 110], [capture(1, [1, 0] + Array("/run/a\"b".utf8) + [0, 0x41])])[1]
                == #"{sa_family=AF_UNIX, sun_path="/run/a\"b"}"#)
        #expect(
            arguments("connect", [3, 1, 5], [capture(1, [1, 0, 0, 0x78])])[1]
                == #"{sa_family=AF_UNIX, sun_path=@"x"}"#)
    }

    @Test func structuresFlagsAndLists() {
        #expect(
            arguments("pipe2", [1, 0o2000000], [capture(0, [3, 0, 0, 0, 4, 0, 0, 0])]) == ["[3, 4]", "O_CLOEXEC"])
        #expect(
            arguments("wait4", [UInt64(UInt32.max), 1, 1, 0], [capture(1, [0, 9, 0, 0])], result: 7)
                == ["-1", "[{WIFEXITED(s) && WEXITSTATUS(s) == 9}]", "WNOHANG", "NULL"])
        #expect(arguments("wait4", [5, 1, 1, 0], [capture(1, [0, 9, 0, 0])], result: 0)[1] == "0x1")
        #expect(arguments("nanosleep", [1, 0], [capture(0, little(2, 5))]) == ["{tv_sec=2, tv_nsec=5}", "NULL"])
        #expect(
            arguments("execve", [1, 2, 3], [text(0, "/bin/ls"), text(1, "ls"), text(1, "-l")])
                == ["\"/bin/ls\"", "[\"ls\", \"-l\"]", "0x3"])
        #expect(
            arguments("mmap", [0, 4096, 3, 0x22, UInt64(UInt32.max), 0])
                == ["NULL", "4096", "PROT_READ|PROT_WRITE", "MAP_PRIVATE|MAP_ANONYMOUS", "-1", "0"])
        #expect(arguments("kill", [2, 9]) == ["2", "SIGKILL"])
        #expect(arguments("lseek", [3, 3_000_000_000, 2]) == ["3", "3000000000", "SEEK_END"])
        #expect(arguments("socket", [16, 0x8_0003, 12]) == ["AF_NETLINK", "SOCK_RAW|SOCK_CLOEXEC", "12"])
        #expect(arguments("access", [1, 0], [text(0, "f")]) == ["\"f\"", "F_OK"])
        #expect(arguments("access", [1, 0x16], [text(0, "f")])[1] == "R_OK|W_OK|0x10")
    }

    @Test func everySignatureIsOfACallAndEveryWordOfItMeansSomething() {
        #expect(SyscallSignature.unknownWords == [])
        for name in SyscallSignature.names { #expect(SyscallTable.isName(name), "\(name)") }
        #expect(SyscallSignature.names.count > 150)
    }

    @Test func plansFitWhatTheProgramsTake() {
        #expect(TraceRows.plans.count > 1000)
        for plan in TraceRows.plans {
            #expect(plan.bytes.count == MemoryLayout<corral_plan>.size)
            #expect(plan.row < CORRAL_TRACE_ROWS - 1)
            for capture in plan.captures {
                #expect((0...5).contains(capture.argument))
                #expect(UInt32(capture.size) <= CORRAL_CAPTURE_BYTES_MOST)
            }
        }
        #expect(Set(TraceRows.plans.map(\.row)).count == TraceRows.plans.count)
        #expect(TraceRows.rows(of: .all).count == Int(CORRAL_TRACE_ROWS))
        #expect(TraceRows.rows(of: .counts) == [])
        for row in TraceRows.rows(of: .calls(["openat"])) { #expect(TraceRows.call(of: row)?.name == "openat") }
        #expect(!TraceRows.rows(of: .calls(["openat"])).isEmpty)
        let operations = TraceRows.rows(of: .calls(["io_uring_enter"])).compactMap(TraceRows.call(of:))
        #expect(operations.contains { $0 == ("io_uring_enter", TraceRows.nativeABI) })
        #expect(operations.contains { $0 == ("IORING_OP_CONNECT", .ioUring) })
        #expect(operations.contains { $0 == ("IORING_OP_99", .ioUring) })
    }

    @Test func linesAreThoseOfStrace() {
        let process = ProcessReference(pid: 7, hostPid: 70, ppid: 1, uid: 0, comm: "cat", exe: nil, execID: "x")
        func line(_ name: String, _ arguments: [String], _ outcome: Syscall.Outcome, abi: SyscallABI = .amd64)
            -> String
        {
            Syscall(
                thread: 7, process: process, name: name, abi: abi, arguments: arguments, outcome: outcome,
                duration: outcome == .returned(3) ? 12_345 : nil
            ).line
        }
        #expect(line("dup", ["2"], .returned(3)) == "dup(2) = 3 <0.000012>")
        #expect(line("close", ["9"], .returned(-9)) == "close(9) = -1 EBADF")
        #expect(line("brk", ["NULL"], .returned(0x5500)) == "brk(NULL) = 0x5500")
        #expect(line("bpf", ["0"], .refused(-1)) == "bpf(0) = -1 EPERM (refused by seccomp)")
        #expect(line("read", [], .resumed(-512)) == "<... read resumed>) = ? ERESTARTSYS")
        #expect(line("exit_group", ["0"], .none) == "exit_group(0) = ?")
        #expect(line("getpid", [], .returned(4), abi: .i386) == "[i386] getpid() = 4")
        #expect(
            line("IORING_OP_CONNECT", ["4", "user_data=0"], .none, abi: .ioUring)
                == "[io_uring] IORING_OP_CONNECT(4, user_data=0) = ?")
        #expect(line("a", ["\u{1b}[2J"], .returned(0)) == "a(\\x1b[2J) = 0")
    }

    @Test func anOperationOfIoUringIsToldByItsDescriptorAndItsMark() {
        func arguments(_ name: String?) -> [String] {
            SyscallDecoder(name: name, abi: .ioUring, arguments: [4, 0x2a, 0, 0, 0, 0], result: 0, captures: [])
                .decoded()
        }
        #expect(arguments("IORING_OP_CONNECT") == ["4", "user_data=0x2a"])
        #expect(arguments("IORING_OP_OPENAT") == ["user_data=0x2a"])
        #expect(arguments(nil) == ["user_data=0x2a"])
    }

    @Test func aRefusedCallSaysWhatWouldPermitIt() {
        let process = ProcessReference(pid: 7, hostPid: 70, ppid: 1, uid: 0, comm: "cat", exe: nil, execID: "x")
        func hint(_ name: String, _ abi: SyscallABI = .amd64, _ outcome: Syscall.Outcome = .refused(-1)) -> String? {
            Syscall(thread: 7, process: process, name: name, abi: abi, arguments: [], outcome: outcome).hint
        }
        #expect(hint("bpf")?.contains("to permit it add syscalls: { allow: [bpf] }") == true)
        // The default permits some of its arguments: to name it changes nothing.
        #expect(hint("socket")?.contains("allow: [{ name: socket, arguments: any }]") == true)
        for (name, abi) in [("getpid", SyscallABI.i386), ("getpid", .x32), ("syscall_4711", .amd64)] {
            #expect(hint(name, abi)?.contains("no policy permits") == true, "\(name) of \(abi)")
        }
        #expect(hint("bpf", .amd64, .returned(-1)) == nil)
    }

    @Test func errorsHaveTheNamesOfTheKernel() {
        for (number, name) in [
            (1, "EPERM"), (38, "ENOSYS"), (40, "ELOOP"), (42, "ENOMSG"), (59, "EBFONT"), (133, "EHWPOISON"),
        ] {
            #expect(ErrorName.of(result: -Int64(number)) == name)
        }
        #expect(ErrorName.of(result: -41) == "errno 41")
        #expect(ErrorName.of(result: 0) == nil)
        #expect(ErrorName.of(result: -4096) == nil)
    }

    @Test func aRefusedCallIsADenialAndAnotherIsNone() {
        let process = ProcessReference(pid: 7, hostPid: 70, ppid: 1, uid: 0, comm: "cat", exe: nil, execID: "x")
        func event(_ outcome: Syscall.Outcome) -> Event {
            Event(
                time: 1, seq: 1, sandbox: nil,
                body: .syscall(
                    Syscall(
                        thread: 7, process: process, name: "bpf", abi: .amd64, arguments: [], outcome: outcome)))
        }
        #expect(event(.refused(-1)).verdict == .deny)
        #expect(event(.refused(-1)).reason == .syscallNotAllowed)
        #expect(event(.returned(-1)).verdict == nil)
        let denials = EventFilter(sandboxes: [], verdicts: [.deny])
        #expect(denials.matches(event(.refused(-1))))
        #expect(!denials.matches(event(.returned(-1))))
    }
}
