import CorralABI
import CorralPolicy
import Testing

@testable import CorralEvents

/// Lines that are written from records must be those that events make.
@Suite struct TraceRecordsTests {
    private static let context = DecisionContext(
        sandbox: SandboxReference(id: "sb-1", name: "a\"\u{1b}"), bootTime: 1_795_497_121_000_000_000, uidBase: 5000,
        uidCount: 100)

    private static func record(
        _ name: String, abi: corral_syscall_abi = CORRAL_ABI_NATIVE, number: UInt32? = nil, flags: UInt16 = 0,
        result: Int64 = 0, pid: UInt32 = 7, comm: String = "cat", time: UInt64 = 0, arguments: [UInt64] = [],
        data: [UInt8] = []
    ) throws -> [UInt8] {
        let layout = TraceLayout.shared
        var bytes = [UInt8](repeating: 0, count: layout.data + data.count)
        func set(_ offset: Int, _ value: some FixedWidthInteger) {
            for index in 0..<value.bitWidth / 8 {
                bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (index * 8))
            }
        }
        let word = WireTrace.abi(UInt8(abi.rawValue))
        set(layout.version, UInt16(CORRAL_RECORD_VERSION))
        set(layout.size, UInt16(bytes.count))
        set(layout.type, UInt8(CORRAL_TRACE_SYSCALL.rawValue))
        set(layout.abi, UInt8(abi.rawValue))
        set(layout.flags, flags)
        set(layout.time, time)
        set(layout.seq, UInt64(9))
        set(layout.slot, UInt32(3))
        set(layout.epoch, UInt64(5))
        set(layout.pid, pid)
        set(layout.tid, pid + 1)
        set(layout.hostPid, pid * 10)
        set(layout.hostTid, pid * 10 + 1)
        set(layout.hostUID, UInt32(5001))
        set(layout.number, try number ?? #require(SyscallTable.number(name, word)))
        set(layout.used, UInt32(data.count))
        for (index, argument) in arguments.enumerated() { set(layout.arguments + index * 8, argument) }
        set(layout.result, result)
        set(layout.duration, UInt64(1234))
        bytes.replaceSubrange(layout.comm..<layout.comm + comm.utf8.count, with: comm.utf8)
        bytes.replaceSubrange(layout.data..., with: data)
        return bytes
    }

    private static func all() throws -> [[UInt8]] {
        let path = Array("/e\"t".utf8)
        return [
            try record("getppid", result: 1), try record("getppid", result: 1, time: 999_999_999),
            try record("getppid", result: 1, time: 1_000_000_000),
            try record(
                "openat", result: -2, arguments: [UInt64(bitPattern: -100), 0x1000], data: [1, 0, 4, 0] + path),
            try record("getppid", result: .min, pid: 8, comm: "d\u{1}g"), try record("getppid", result: .max, pid: 7),
            try record("getppid", abi: CORRAL_ABI_COMPAT, result: 7),
            try record("", number: 639, result: -38, arguments: [1, 2, 3, 4, 5, 6]),
            try record("", number: 4_000_000_000, result: -38), try record("", number: 641, result: -38),
            try record("add_key", flags: UInt16(CORRAL_TRACE_REFUSED.rawValue), result: -1),
            try record("read", flags: UInt16(CORRAL_TRACE_UNSEEN.rawValue), result: -512),
            try record("exit_group", flags: UInt16(CORRAL_TRACE_NO_RETURN.rawValue)),
            try record("execve", flags: UInt16(CORRAL_TRACE_NO_ROOM.rawValue), arguments: [1, 2, 3]),
        ]
    }

    private static func events(_ records: [[UInt8]]) throws -> [Event] {
        try records.map { bytes in
            let result = bytes.withUnsafeBytes { raw -> Result<Event, WireError> in
                do throws(WireError) { return .success(try WireTrace(bytes: raw).event(in: context)) } catch {
                    return .failure(error)
                }
            }
            return try result.get()
        }
    }

    private static func known() -> TraceRecords {
        let records = TraceRecords()
        records.learn(TraceSource(slot: 3, epoch: 5, context: context))
        return records
    }

    @Test func linesAreThoseOfEvents() throws {
        let all = try Self.all()
        let events = try Self.events(all)
        let records = Self.known()
        let lines = LineBuffer(capacity: 0)
        // Twice: what is written once and used again is right the second time, too.
        for _ in 0..<2 {
            lines.clear()
            #expect(try records.appendLines(of: Array(all.joined()), to: lines) == all.count)
            #expect(
                String(decoding: lines.bytes, as: UTF8.self)
                    == String(decoding: events.flatMap(\.jsonLine), as: UTF8.self))
        }
        #expect(try records.events(Array(all.joined())) == events)
        for line in lines.bytes.split(separator: UInt8(ascii: "\n")) { _ = try Event(json: Array(line)) }
    }

    @Test func whatIsNoRecordIsRefused() throws {
        let good = try Self.record("getppid")
        let lines = LineBuffer()
        let cases: [[UInt8]] = [
            Array(good.dropLast()), good + [1], [0], Array(repeating: 0xff, count: 200),
            Array(repeating: 0, count: 200),
        ]
        for bytes in cases {
            #expect(throws: EventParseError.self) { try Self.known().appendLines(of: bytes, to: lines) }
        }
        #expect(throws: EventParseError.self) { try TraceRecords().appendLines(of: good, to: lines) }
        #expect(try Self.known().appendLines(of: good, to: lines) == 1)
        #expect(try Self.known().appendLines(of: [], to: lines) == 0)
    }

    /// Bytes of a daemon that is not what it says.
    @Test func damagedFramesDoNotTrap() throws {
        var random = SystemRandomNumberGenerator()
        let all = Array(try Self.all().joined())
        let records = Self.known()
        let lines = LineBuffer()
        for _ in 0..<3000 {
            var bytes = all
            for _ in 0..<Int.random(in: 1...6, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            lines.clear()
            _ = try? records.appendLines(of: bytes, to: lines)
            _ = try? records.events(bytes)
        }
    }
}

@Suite struct DescriptorNamesTests {
    private static func process(_ pid: UInt32) -> ProcessReference {
        ProcessReference(pid: pid, hostPid: pid * 10, ppid: 1, uid: 0, comm: "a", exe: nil, execID: "x")
    }

    private var names = DescriptorNames()

    private mutating func call(_ name: String, _ arguments: [String], _ result: Int64 = 0, pid: UInt32 = 7) -> [String]
    {
        let call = Syscall(
            thread: pid, process: Self.process(pid), name: name, abi: .amd64, arguments: arguments,
            outcome: .returned(result))
        return names.named(Event(time: 0, seq: 1, sandbox: nil, body: .syscall(call))).syscall?.arguments ?? []
    }

    private mutating func change(_ action: ProcessChange.Action, pid: UInt32 = 7) {
        let change = ProcessChange(process: Self.process(pid), action: action)
        _ = names.named(Event(time: 0, seq: 1, sandbox: nil, body: .process(change)))
    }

    @Test mutating func descriptorsFollowTheCallsThatMakeCopyAndCloseThem() {
        #expect(call("read", ["3", "\"\"", "1"], 0) == ["3", "\"\"", "1"])
        #expect(call("openat", ["AT_FDCWD", "\"/etc/hosts\"", "O_RDONLY|O_CLOEXEC"], 3).count == 3)
        #expect(call("read", ["3", "\"\"", "1"]) == ["3<≈/etc/hosts>", "\"\"", "1"])
        #expect(call("dup2", ["3", "9"], 9) == ["3<≈/etc/hosts>", "9"])
        change(.fork(ProcessChange.Child(pid: 8, hostPid: 80, execID: "y")))
        #expect(call("close", ["9"]) == ["9<≈/etc/hosts>"])
        #expect(call("close", ["9"]) == ["9"])
        #expect(call("read", ["9", "\"\"", "1"], pid: 8) == ["9<≈/etc/hosts>", "\"\"", "1"])
        change(.exec(arguments: [], isCut: false, directory: "/"), pid: 8)
        #expect(call("read", ["3", "\"\"", "1"], pid: 8).first == "3")
        #expect(call("read", ["9", "\"\"", "1"], pid: 8).first == "9<≈/etc/hosts>")
        #expect(call("openat", ["AT_FDCWD", "\"/srv\"", "O_RDONLY|O_DIRECTORY"], 5).count == 3)
        #expect(call("openat", ["5", "\"a\"", "O_RDONLY"], 6).first == "5<≈/srv>")
        #expect(call("fstat", ["6", "{}"]).first == "6<≈/srv/a>")
        #expect(call("openat", ["AT_FDCWD", "\"/none\"", "O_RDONLY"], -2).count == 3)
        change(.exit(.code(0), ProcessChange.Usage(user: 0, system: 0, peakMemory: 0)))
        #expect(call("fstat", ["6", "{}"]).first == "6")
    }

    @Test mutating func socketsAreNamedByTheirOtherEnd() {
        _ = call("socket", ["AF_INET", "SOCK_STREAM|SOCK_CLOEXEC", "IPPROTO_TCP"], 3)
        let address = "{sa_family=AF_INET, sin_port=htons(443), sin_addr=inet_addr(\"203.0.113.9\")}"
        #expect(call("connect", ["3", address, "16"], -115).first == "3<≈AF_INET SOCK_STREAM>")
        #expect(call("sendto", ["3", "\"x\"", "1", "0", "NULL", "0"], 1).first == "3<≈→203.0.113.9:443>")
        let six = "{sa_family=AF_INET6, sin6_port=htons(53), inet_pton(AF_INET6, \"2001:db8::1\")}"
        #expect(DescriptorNames.address(six) == "[2001:db8::1]:53")
        _ = call("pipe2", ["[4, 5]", "O_CLOEXEC"])
        #expect(call("write", ["5", "\"x\"", "1"], 1).first == "5<≈pipe>")
        _ = call("close_range", ["4", "4294967295", "0"])
        #expect(call("write", ["5", "\"x\"", "1"], -9).first == "5")
    }
}
