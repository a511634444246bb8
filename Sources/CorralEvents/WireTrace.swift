internal import CorralABI
internal import CorralPolicy

/// One record of the ring buffer `trace`, checked; decoded as far as it takes to say whose it is. The rest is decoded by
/// `event(in:)`, since most records have no reader.
///
/// Valid as long as the bytes it was made from.
public struct WireTrace {
    enum Kind {
        case syscall
        case exec
        case fork
        case exit
    }

    public let slot: UInt32
    /// Number of the sandbox in the instance, never used twice.
    public let epoch: UInt64
    public let seq: UInt64
    let kind: Kind
    let bytes: UnsafeRawBufferPointer

    /// `bytes` is one whole record.
    public init(bytes: UnsafeRawBufferPointer) throws(WireError) {
        let layout = TraceLayout.shared
        guard bytes.count >= layout.headBytes else {
            throw .size(bytes: bytes.count, expected: layout.headBytes)
        }
        self.bytes = bytes
        let version: UInt16 = Self.load(bytes, layout.version)
        guard version == UInt16(truncatingIfNeeded: CORRAL_RECORD_VERSION) else {
            throw .version(version, expected: UInt16(truncatingIfNeeded: CORRAL_RECORD_VERSION))
        }
        slot = Self.load(bytes, layout.slot)
        epoch = Self.load(bytes, layout.epoch)
        seq = Self.load(bytes, layout.seq)
        let type: UInt8 = Self.load(bytes, layout.type)
        let expected: Int
        switch UInt32(type) {
        case CORRAL_TRACE_SYSCALL.rawValue:
            kind = .syscall
            guard bytes.count >= layout.data, bytes.count <= layout.data + Int(CORRAL_TRACE_DATA) else {
                throw .size(bytes: bytes.count, expected: layout.data)
            }
            let used: UInt32 = Self.load(bytes, layout.used)
            expected = layout.data + Int(used)
        case CORRAL_TRACE_EXEC.rawValue:
            kind = .exec
            expected = MemoryLayout<corral_execution>.size
        case CORRAL_TRACE_FORK.rawValue:
            kind = .fork
            expected = MemoryLayout<corral_step>.size
        case CORRAL_TRACE_EXIT.rawValue:
            kind = .exit
            expected = MemoryLayout<corral_step>.size
        default: throw .unknown(field: "type", value: UInt32(type))
        }
        guard bytes.count == expected else { throw .size(bytes: bytes.count, expected: expected) }
    }

    public var type: EventType { kind == .syscall ? .syscall : .process }

    /// The whole record; valid as long as the bytes it was made from.
    public var record: UnsafeRawBufferPointer { bytes }

    /// Seccomp refused the call.
    public var isRefused: Bool { kind == .syscall && UInt32(flags) & CORRAL_TRACE_REFUSED.rawValue != 0 }

    var flags: UInt16 { load(TraceLayout.shared.flags) }

    /// Row of the counts that a call has.
    public var row: Int {
        let layout = TraceLayout.shared
        let number: UInt32 = load(layout.number)
        let abi: UInt8 = load(layout.abi)
        guard number < CORRAL_SYSCALLS, UInt32(abi) < CORRAL_SYSCALL_ABIS else { return Int(CORRAL_TRACE_ROWS) - 1 }
        return Int(UInt32(abi) * CORRAL_SYSCALLS + number)
    }

    /// Whose a record is that could not be read further; nil where it says not even that.
    public static func slot(of bytes: UnsafeRawBufferPointer) -> UInt32? {
        bytes.count >= TraceLayout.shared.headBytes ? load(bytes, TraceLayout.shared.slot) : nil
    }

    /// The record that `bytes` begin with; nil when they hold no whole one.
    static func first(in bytes: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer? {
        let layout = TraceLayout.shared
        guard bytes.count >= layout.headBytes else { return nil }
        let size = Int(load(bytes, layout.size, as: UInt16.self))
        guard size >= layout.headBytes, size <= bytes.count else { return nil }
        return UnsafeRawBufferPointer(rebasing: bytes[..<size])
    }

    func load<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type = Value.self) -> Value {
        Self.load(bytes, offset)
    }

    // Safety: every offset is a field's own in a record whose size `init` has checked.
    private static func load<Value: FixedWidthInteger>(
        _ bytes: UnsafeRawBufferPointer, _ offset: Int, as type: Value.Type = Value.self
    ) -> Value {
        bytes.loadUnaligned(fromByteOffset: offset, as: Value.self)
    }

    // MARK: events

    func time(in context: DecisionContext) -> Int64 {
        let time: UInt64 = load(TraceLayout.shared.time)
        let (sum, overflow) = Int64(clamping: time).addingReportingOverflow(context.bootTime)
        return overflow ? .max : sum
    }

    static func name(ofUnknown number: UInt32, _ abi: SyscallABI) -> String {
        (abi == .ioUring ? "IORING_OP_" : "syscall_") + String(Int32(bitPattern: number))
    }

    public func event(in context: DecisionContext) -> Event {
        let body: Event.Body =
            switch kind {
            case .syscall: .syscall(syscall(in: context))
            case .exec, .fork, .exit: .process(ProcessChange(process: process(in: context), action: action))
            }
        return Event(time: time(in: context), seq: seq, sandbox: context.sandbox, body: body)
    }

    func process(in context: DecisionContext) -> ProcessReference {
        let layout = TraceLayout.shared
        let comm = bytes[layout.comm..<layout.comm + Int(CORRAL_COMM_BYTES)].prefix { $0 != 0 }
        let exe =
            kind == .exec
            ? WireDecision.path(bytes[layout.exe..<layout.exe + Int(CORRAL_EXE_BYTES)]) : nil
        return WireDecision.Process(
            pid: load(layout.pid), ppid: load(layout.ppid), hostPid: load(layout.hostPid),
            hostUID: load(layout.hostUID), execCount: load(layout.execCount), startedAt: load(layout.startedAt),
            comm: String(decoding: comm, as: UTF8.self), exe: exe
        ).reference(in: context)
    }

    private func syscall(in context: DecisionContext) -> Syscall {
        let layout = TraceLayout.shared
        let abi = Self.abi(load(layout.abi))
        let number: UInt32 = load(layout.number)
        let flags: UInt16 = load(layout.flags)
        func isSet(_ flag: corral_trace_flag) -> Bool { UInt32(flags) & flag.rawValue != 0 }
        let result = Int64(bitPattern: load(layout.result, as: UInt64.self))
        let outcome: Syscall.Outcome =
            isSet(CORRAL_TRACE_NO_RETURN)
            ? .none
            : isSet(CORRAL_TRACE_REFUSED)
                ? .refused(result) : isSet(CORRAL_TRACE_UNSEEN) ? .resumed(result) : .returned(result)
        let name = SyscallTable.name(number, abi)
        var arguments: [String] = []
        if !isSet(CORRAL_TRACE_UNSEEN) {
            let decoder = SyscallDecoder(
                name: name, abi: abi, arguments: (0..<6).map { load(layout.arguments + $0 * 8) }, result: result,
                captures: captures)
            arguments = decoder.decoded()
            if isSet(CORRAL_TRACE_NO_ROOM), arguments.last != "..." { arguments.append("...") }
        }
        let duration: UInt64 = load(layout.duration)
        return Syscall(
            thread: load(layout.tid), process: process(in: context),
            name: name ?? Self.name(ofUnknown: number, abi), abi: abi, arguments: arguments, outcome: outcome,
            duration: isSet(CORRAL_TRACE_REFUSED) || isSet(CORRAL_TRACE_UNSEEN) || isSet(CORRAL_TRACE_NO_RETURN)
                ? nil : duration
        )
    }

    static let nativeABI: SyscallABI = {
        #if arch(arm64)
            .arm64
        #else
            .amd64
        #endif
    }()

    static func abi(_ number: UInt8) -> SyscallABI {
        switch UInt32(number) {
        case CORRAL_ABI_COMPAT.rawValue: .i386
        case CORRAL_ABI_X32.rawValue: .x32
        case CORRAL_ABI_IO_URING.rawValue: .ioUring
        default: nativeABI
        }
    }

    /// Pieces of memory that the kernel side copied; what does not lie within the record is left out.
    var captures: [SyscallCapture] {
        let layout = TraceLayout.shared
        var captures: [SyscallCapture] = []
        var offset = layout.data
        let head = MemoryLayout<corral_captured>.size
        while offset + head <= bytes.count {
            let size: UInt16 = load(offset + layout.capturedSize)
            let state: UInt8 = load(offset + layout.capturedState)
            let start = offset + head
            guard start + Int(size) <= bytes.count else { break }
            captures.append(
                SyscallCapture(
                    argument: Int(load(offset, as: UInt8.self)),
                    isCut: UInt32(state) == CORRAL_CAPTURED_CUT.rawValue,
                    isReadable: UInt32(state) != CORRAL_CAPTURED_UNREADABLE.rawValue,
                    bytes: Array(bytes[start..<start + Int(size)])))
            offset = start + (Int(size) + 3) / 4 * 4
        }
        return captures
    }

    private var action: ProcessChange.Action {
        let layout = TraceLayout.shared
        switch kind {
        case .syscall, .exec:
            let size = min(Int(load(layout.argvSize, as: UInt32.self)), Int(CORRAL_ARGV_BYTES))
            let isCut = load(layout.argvCut, as: UInt32.self) != 0
            let argv = bytes[layout.argv..<layout.argv + size]
            var arguments = argv.split(separator: 0, omittingEmptySubsequences: false)
                .map { String(decoding: $0, as: UTF8.self) }
            // Behind the last zero byte nothing begins.
            if argv.last == 0 || argv.isEmpty { arguments.removeLast() }
            let directory = bytes[layout.directory..<layout.directory + Int(CORRAL_EXE_BYTES)]
            return .exec(arguments: arguments, isCut: isCut, directory: WireDecision.path(directory) ?? "/")
        case .fork:
            let hostPid: UInt32 = load(layout.childHostPid)
            return .fork(
                ProcessChange.Child(
                    pid: load(layout.childPid), hostPid: hostPid,
                    execID: WireDecision.Process.execID(
                        hostPid: hostPid, startedAt: load(layout.childStartedAt),
                        execCount: load(layout.childExecCount))))
        case .exit:
            let status: UInt32 = load(layout.status)
            let signal = UInt8(truncatingIfNeeded: status & 0x7f)
            return .exit(
                signal == 0
                    ? .code(UInt8(truncatingIfNeeded: status >> 8))
                    : .signal(signal, dumpedCore: status & 0x80 != 0),
                usage)
        }
    }

    /// The kernel samples user and system time at its ticks, which is good for their ratio, and counts the sum exactly.
    private var usage: ProcessChange.Usage {
        let layout = TraceLayout.shared
        let user: UInt64 = load(layout.user), system: UInt64 = load(layout.system), run: UInt64 = load(layout.run)
        let ticks = Double(user) + Double(system)
        // `run` may round up to 2^64, which no 64 bits hold.
        let share = ticks == 0 ? nil : UInt64(exactly: (Double(run) * (Double(user) / ticks)).rounded(.down))
        let userPart = min(run, share ?? run)
        return ProcessChange.Usage(
            user: userPart, system: run - userPart,
            peakMemory: load(layout.peakPages, as: UInt64.self).multipliedReportingOverflow(by: Self.pageBytes)
                .partialValue
        )
    }

    /// Of x86-64, and of arm64 kernels as distributions build them.
    private static let pageBytes: UInt64 = 4096
}

/// Offsets of the records of bpf/abi/corral_abi.h, asked of the compiler once.
struct TraceLayout: Sendable {
    let headBytes = MemoryLayout<corral_trace_head>.size
    let version = head(\.version), size = head(\.size), type = head(\.type), abi = head(\.abi), flags = head(\.flags)
    let time = head(\.time_ns), seq = head(\.seq), epoch = head(\.epoch), slot = head(\.slot)
    let pid = head(\.pid), ppid = head(\.ppid), tid = head(\.tid), hostPid = head(\.host_pid)
    let hostTid = head(\.host_tid)
    let hostUID = head(\.host_uid), execCount = head(\.exec_count), startedAt = head(\.start_ns)
    let comm = head(\.comm)
    let number = call(\.number), used = call(\.used), arguments = call(\.arguments), result = call(\.result)
    let duration = call(\.duration_ns), data = call(\.data)
    let exe = exec(\.exe), directory = exec(\.directory), argv = exec(\.argv), argvSize = exec(\.argv_size)
    let argvCut = exec(\.argv_cut)
    let childPid = step(\.child_pid), childHostPid = step(\.child_host_pid)
    let childExecCount = step(\.child_exec_count), childStartedAt = step(\.child_start_ns), status = step(\.status)
    let user = step(\.user_ns), system = step(\.system_ns), run = step(\.run_ns), peakPages = step(\.peak_pages)
    let capturedState = offset(\corral_captured.state), capturedSize = offset(\corral_captured.size)

    static let shared = TraceLayout()

    private static func head(_ field: PartialKeyPath<corral_trace_head>) -> Int { offset(field) }
    private static func call(_ field: PartialKeyPath<corral_syscall>) -> Int { offset(field) }
    private static func exec(_ field: PartialKeyPath<corral_execution>) -> Int { offset(field) }
    private static func step(_ field: PartialKeyPath<corral_step>) -> Int { offset(field) }

    private static func offset<Root>(_ field: PartialKeyPath<Root>) -> Int {
        guard let offset = MemoryLayout<Root>.offset(of: field) else {
            // Every stored field of a C struct has an offset.
            preconditionFailure("a record has a field without an offset")
        }
        return offset
    }
}
