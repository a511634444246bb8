import CorralABI
import CorralPolicy
import Testing

@testable import CorralEvents

/// Records of the ring `trace`, whole and damaged.
@Suite struct WireTraceTests {
    private static let context = DecisionContext(
        sandbox: SandboxReference(id: "sb-1", name: "a"), bootTime: 1000, uidBase: 5000, uidCount: 100)

    private struct Record {
        var bytes: [UInt8]

        init(type: corral_trace_type, size: Int) {
            bytes = [UInt8](repeating: 0, count: size)
            let layout = TraceLayout.shared
            set(layout.version, UInt16(CORRAL_RECORD_VERSION))
            set(layout.type, UInt8(type.rawValue))
            set(layout.time, UInt64(500))
            set(layout.seq, UInt64(9))
            set(layout.slot, UInt32(3))
            set(layout.pid, UInt32(7))
            set(layout.hostPid, UInt32(70))
            set(layout.hostUID, UInt32(5001))
            put(layout.comm, Array("cat".utf8))
        }

        mutating func set(_ offset: Int, _ value: some FixedWidthInteger) {
            for index in 0..<value.bitWidth / 8 {
                bytes[offset + index] = UInt8(truncatingIfNeeded: value >> (index * 8))
            }
        }

        mutating func put(_ offset: Int, _ new: [UInt8]) {
            bytes.replaceSubrange(offset..<offset + new.count, with: new)
        }

        func event() -> Result<Event, WireError> {
            bytes.withUnsafeBytes { raw in
                do throws(WireError) {
                    return .success(try WireTrace(bytes: raw).event(in: context))
                } catch {
                    return .failure(error)
                }
            }
        }
    }

    /// openat of a path that was copied.
    private func opened() throws -> Record {
        let layout = TraceLayout.shared
        let path = Array("/etc".utf8)
        var record = Record(type: CORRAL_TRACE_SYSCALL, size: layout.data + 8)
        record.set(layout.number, try #require(SyscallTable.number("openat", WireTrace.nativeABI)))
        record.set(layout.used, UInt32(8))
        record.set(layout.arguments, Int64(-100))
        record.set(layout.arguments + 8, UInt64(0x1000))
        record.set(layout.result, Int64(-2))
        record.set(layout.duration, UInt64(77))
        record.put(layout.data, [1, 0, 4, 0] + path)
        return record
    }

    @Test func aCallIsReadWhole() throws {
        let event = try opened().event().get()
        #expect(event.time == 1500)
        #expect(event.seq == 9)
        let call = try #require(event.syscall)
        #expect(call.line == "openat(AT_FDCWD, \"/etc\", O_RDONLY) = -1 ENOENT <0.000000>")
        #expect(call.process.uid == 1)
        #expect(call.process.comm == "cat")
    }

    @Test func lengthsThatDoNotAgreeAreRefused() throws {
        var record = try opened()
        record.bytes.removeLast()
        #expect(throws: WireError.self) { try record.event().get() }
        record = try opened()
        record.set(TraceLayout.shared.used, UInt32.max)
        #expect(throws: WireError.self) { try record.event().get() }
        #expect(throws: WireError.self) { try Record(type: CORRAL_TRACE_EXEC, size: 200).event().get() }
        record = try opened()
        record.set(TraceLayout.shared.version, UInt16(99))
        #expect(record.event() == .failure(.version(99, expected: UInt16(CORRAL_RECORD_VERSION))))
        record = try opened()
        record.set(TraceLayout.shared.type, UInt8(200))
        #expect(record.event() == .failure(.unknown(field: "type", value: 200)))
        record.bytes = [1, 2, 3]
        #expect(throws: WireError.self) { try record.event().get() }
    }

    /// Whatever the bytes are, nothing traps.
    @Test func damagedRecordsAreReadOrRefused() throws {
        var random = SplitMix(seed: 6)
        var read = 0
        for _ in 0..<20_000 {
            var record: Record
            switch random.next() % 3 {
            case 0: record = try opened()
            case 1: record = Record(type: CORRAL_TRACE_EXEC, size: MemoryLayout<corral_execution>.size)
            default: record = Record(type: CORRAL_TRACE_EXIT, size: MemoryLayout<corral_step>.size)
            }
            for _ in 0..<random.next() % 20 {
                let index = Int(random.next() % UInt64(record.bytes.count))
                record.bytes[index] = UInt8(truncatingIfNeeded: random.next())
            }
            if case .success(let event) = record.event() {
                read += 1
                #expect(!event.jsonLine.isEmpty)
            }
        }
        #expect(read > 5_000)
    }

    @Test func processesAreReadWhole() throws {
        let layout = TraceLayout.shared
        var record = Record(type: CORRAL_TRACE_EXEC, size: MemoryLayout<corral_execution>.size)
        record.put(layout.exe, Array("cat\0bin\0usr\0".utf8))
        record.put(layout.directory, Array("user\0home\0".utf8))
        record.put(layout.argv, Array("cat\0\0a b\0".utf8))
        record.set(layout.argvSize, UInt32(9))
        guard case .process(let executed) = try record.event().get().body else { return #expect(Bool(false)) }
        #expect(executed.process.exe == "/usr/bin/cat")
        #expect(executed.action == .exec(arguments: ["cat", "", "a b"], isCut: false, directory: "/home/user"))
        #expect(executed.line == "exec /usr/bin/cat: cat \"\" \"a b\"")

        record = Record(type: CORRAL_TRACE_EXIT, size: MemoryLayout<corral_step>.size)
        record.set(layout.status, UInt32(0x8b))
        record.set(layout.user, UInt64(3_000_000))
        record.set(layout.system, UInt64(1_000_000))
        record.set(layout.run, UInt64(4_400_000))
        record.set(layout.peakPages, UInt64(2))
        guard case .process(let ended) = try record.event().get().body else { return #expect(Bool(false)) }
        let usage = ProcessChange.Usage(user: 3_300_000, system: 1_100_000, peakMemory: 8192)
        #expect(ended.action == .exit(.signal(11, dumpedCore: true), usage))
        #expect(ended.line == "exit by SIGSEGV (core dumped)")

        record = Record(type: CORRAL_TRACE_FORK, size: MemoryLayout<corral_step>.size)
        record.set(layout.childPid, UInt32(8))
        record.set(layout.childHostPid, UInt32(80))
        record.set(layout.childStartedAt, UInt64(36))
        guard case .process(let forked) = try record.event().get().body else { return #expect(Bool(false)) }
        #expect(forked.action == .fork(ProcessChange.Child(pid: 8, hostPid: 80, execID: "80-10-0")))
    }

    /// Times that 64 bits just hold, and a signal that no name belongs to.
    @Test func extremeEndingsAreToldAndReadAgain() throws {
        let layout = TraceLayout.shared
        for (status, run) in [(0x7f, UInt64.max), (0x09, .max - 1), (0x40, 1)] as [(UInt32, UInt64)] {
            var record = Record(type: CORRAL_TRACE_EXIT, size: MemoryLayout<corral_step>.size)
            record.set(layout.status, status)
            record.set(layout.user, UInt64(1))
            record.set(layout.run, run)
            let event = try record.event().get()
            guard case .process(let ended) = event.body, case .exit(let ending, let usage) = ended.action else {
                return #expect(Bool(false))
            }
            #expect(ending == .signal(UInt8(status), dumpedCore: false))
            #expect(usage.user == run && usage.system == 0)
            #expect(try Event(json: event.jsonLine) == event)
        }
    }
}
