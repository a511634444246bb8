internal import CorralABI
public import CorralPolicy

/// One `struct corral_event` of the ring buffer `decisions`, checked and decoded.
public struct WireDecision: Sendable, Equatable {
    public enum Direction: Sendable, Equatable {
        case egress
        case ingress
        /// No traffic: what an LSM hook has refused.
        case operation(KernelOperation)
        /// No traffic either: a path that one has refused.
        case path(Path)
    }

    public struct Path: Sendable, Equatable {
        public var action: FileAction
        public var access: FileAccess
        /// Nil: it has none. Ends in `…` where it goes on; invalid UTF-8 replaced.
        public var path: String?
        /// A directory was to be moved that holds what `rule` names.
        public var isAbove: Bool
    }

    /// The process that asked, as the kernel saw it.
    public struct Process: Sendable, Equatable {
        public var pid: UInt32
        public var ppid: UInt32
        public var hostPid: UInt32
        public var hostUID: UInt32
        /// How often this process has called execve.
        public var execCount: UInt32
        /// CLOCK_BOOTTIME of the process's start, nanoseconds.
        public var startedAt: UInt64
        /// At most 15 bytes, invalid UTF-8 replaced.
        public var comm: String
        /// Nil where it could not be read. Begins with `…/` where its first directories did not fit.
        public var exe: String?
    }

    public var direction: Direction
    public var hook: Hook?
    public var verdict: Verdict
    public var reason: Reason
    /// CLOCK_BOOTTIME, nanoseconds.
    public var time: UInt64
    public var seq: UInt64
    /// Number of the sandbox in the instance, never used twice.
    public var epoch: UInt64
    public var slot: UInt32
    /// Number of the policy asked; nil when none was.
    public var policy: UInt32?
    public var rule: RuleReference?
    /// The other side; nil when the record has no address.
    public var remote: IPAddress?
    public var remotePort: UInt16?
    public var localPort: UInt16?
    public var proto: TrafficProtocol?
    public var process: Process?
}

/// Bytes that are no decision. None of them comes from a healthy kernel side of the same build.
public enum WireError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The record holds another number of bytes than its layout has.
    case size(bytes: Int, expected: Int)
    /// Written by programs of another build.
    case version(UInt16, expected: UInt16)
    /// A field holds a number that its enumeration does not have.
    case unknown(field: String, value: UInt32)

    public var description: String {
        switch self {
        case .size(let bytes, let expected): "event record of \(bytes) bytes, expected \(expected)"
        case .version(let version, let expected): "event record of version \(version), expected \(expected)"
        case .unknown(let field, let value): "event record with unknown \(field) \(value)"
        }
    }
}

extension WireDecision {
    public init(bytes: [UInt8]) throws(WireError) {
        // A closure that throws cannot carry the typed error through withUnsafeBytes.
        let result = bytes.withUnsafeBytes { raw -> Result<WireDecision, WireError> in
            do throws(WireError) {
                return .success(try WireDecision(bytes: raw))
            } catch {
                return .failure(error)
            }
        }
        self = try result.get()
    }

    /// `bytes` is one whole record; nothing of it is kept.
    public init(bytes: UnsafeRawBufferPointer) throws(WireError) {
        let layout = Layout.event
        let isFile = bytes.count == layout.fileSize
        guard isFile || bytes.count == layout.size else { throw .size(bytes: bytes.count, expected: layout.size) }
        // Safety: every load below is at a field's own offset in a buffer of the struct's size.
        func load<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type = Value.self) -> Value {
            bytes.loadUnaligned(fromByteOffset: offset, as: type)
        }

        let version: UInt16 = load(layout.version)
        guard version == layout.recordVersion else { throw .version(version, expected: layout.recordVersion) }
        let size: UInt16 = load(layout.recordSize)
        guard Int(size) == bytes.count else { throw .size(bytes: Int(size), expected: bytes.count) }

        let type: UInt8 = load(layout.type)
        guard isFile == (UInt32(type) == CORRAL_EVENT_FILE.rawValue) else {
            throw .size(bytes: bytes.count, expected: isFile ? layout.size : layout.fileSize)
        }
        switch UInt32(type) {
        case CORRAL_EVENT_EGRESS.rawValue: direction = .egress
        case CORRAL_EVENT_INGRESS.rawValue: direction = .ingress
        case CORRAL_EVENT_OPERATION.rawValue:
            let number: UInt8 = load(layout.proto)
            guard let operation = KernelOperation(abi: number) else {
                throw .unknown(field: "operation", value: UInt32(number))
            }
            direction = .operation(operation)
        case CORRAL_EVENT_FILE.rawValue:
            let (action, access, above): (UInt8, UInt8, UInt8) = (
                load(layout.action), load(layout.access), load(layout.above)
            )
            guard let action = FileAction(abi: action) else {
                throw .unknown(field: "action", value: UInt32(action))
            }
            guard let access = FileAccess(abi: access) else {
                throw .unknown(field: "access", value: UInt32(access))
            }
            let path = bytes[layout.path..<layout.path + layout.pathBytes].prefix { $0 != 0 }
            let isCut = path.count == layout.pathBytes
            direction = .path(
                Path(
                    action: action, access: access, path: path.isEmpty ? nil : Self.text(path) + (isCut ? "…" : ""),
                    isAbove: above != 0))
        default: throw .unknown(field: "type", value: UInt32(type))
        }
        let hookNumber: UInt8 = load(layout.hook)
        hook = Hook(abi: hookNumber)
        guard hook != nil || UInt32(hookNumber) == CORRAL_HOOK_NONE.rawValue else {
            throw .unknown(field: "hook", value: UInt32(hookNumber))
        }
        let verdictNumber: UInt8 = load(layout.verdict)
        guard let verdict = Verdict(abi: verdictNumber) else {
            throw .unknown(field: "verdict", value: UInt32(verdictNumber))
        }
        self.verdict = verdict
        let reasonNumber: UInt8 = load(layout.reason)
        guard let reason = Reason(abi: reasonNumber) else {
            throw .unknown(field: "reason", value: UInt32(reasonNumber))
        }
        self.reason = reason

        time = load(layout.time)
        seq = load(layout.seq)
        epoch = load(layout.epoch)
        slot = load(layout.slot)
        let policyNumber: UInt32 = load(layout.policy)
        policy = policyNumber == 0 ? nil : policyNumber
        rule = RuleReference(abi: load(layout.rule))

        let family: UInt8 = load(layout.family)
        switch family {
        case 0: remote = nil
        case 4, 6: remote = IPAddress(networkBytes: bytes[layout.address..<layout.address + 16])
        default: throw .unknown(field: "family", value: UInt32(family))
        }
        let port: UInt16 = load(layout.port)
        let hasRemote = remote != nil
        remotePort = hasRemote && port != 0 ? port : nil
        let localPort: UInt16 = load(layout.localPort)
        self.localPort = localPort == 0 ? nil : localPort
        let ethertype: UInt16 = load(layout.ethertype)
        let number: UInt8 = load(layout.proto)
        proto = ethertype != 0 ? .ethertype(ethertype) : number != 0 ? .ip(number) : nil

        let hostPid: UInt32 = load(layout.hostPid)
        process =
            hostPid == 0
            ? nil
            : Process(
                pid: load(layout.pid), ppid: load(layout.ppid), hostPid: hostPid, hostUID: load(layout.hostUID),
                execCount: load(layout.execCount), startedAt: load(layout.startedAt),
                comm: Self.text(bytes[layout.comm..<layout.comm + layout.commBytes].prefix { $0 != 0 }),
                exe: Self.path(bytes[layout.exe..<layout.exe + layout.exeBytes])
            )
    }

    private static func text(_ bytes: some Collection<UInt8>) -> String {
        String(decoding: bytes, as: UTF8.self)
    }

    /// A path from its components, the last first, each ended by a zero byte: `/usr/bin/curl`.
    ///
    /// The kernel side stops after some bytes or steps and does not say so. A process could build a deep directory whose
    /// last part looks like a path of the system, so whatever may have lost its front says `…/bin/curl`, and a name that
    /// may have been cut ends in `…`.
    static func path(_ bytes: some BidirectionalCollection<UInt8>) -> String? {
        var components: [String] = []
        var rest = bytes[...]
        while !rest.isEmpty, rest.first != 0 {
            let component = rest.prefix { $0 != 0 }
            let isCut = component.endIndex == rest.endIndex || component.count >= longestComponent
            // The root directory calls itself "/".
            if !component.elementsEqual([UInt8(ascii: "/")]) { components.append(text(component) + (isCut ? "…" : "")) }
            rest = rest.dropFirst(component.count + 1)
        }
        guard !components.isEmpty else { return nil }
        let mayBeShortened = rest.count < longestComponent + 1 || components.count >= mostComponents
        return (mayBeShortened ? "…/" : "/") + components.reversed().joined(separator: "/")
    }

    /// A name with more bytes may have been cut; with less room than that left, the walk may have stopped early.
    private static let longestComponent = 63
    /// The walk takes at most a few more steps than this, and each mount on the way costs one.
    private static let mostComponents = 16
}

/// Offsets of `struct corral_event`, asked of the compiler once.
///
/// Fields are read by offset from the record rather than through a copy of the struct: its arrays import as tuples,
/// and the optimiser of Swift 6.3 may drop stores to tuples.
private struct Layout: Sendable {
    let size = MemoryLayout<corral_event>.size
    let fileSize = MemoryLayout<corral_file_event>.size
    let pathBytes = Int(CORRAL_PATH_BYTES)
    let action = offset(\.action), access = offset(\.access), above = offset(\.above), path = offset(\.path)
    let recordVersion = UInt16(truncatingIfNeeded: CORRAL_RECORD_VERSION)
    let commBytes = Int(CORRAL_COMM_BYTES)
    let exeBytes = Int(CORRAL_EXE_BYTES)
    let version = offset(\.version), recordSize = offset(\.size), type = offset(\.type), hook = offset(\.hook)
    let verdict = offset(\.verdict), reason = offset(\.reason), time = offset(\.time_ns), seq = offset(\.seq)
    let epoch = offset(\.epoch), slot = offset(\.slot), policy = offset(\.policy), rule = offset(\.rule)
    let port = offset(\.port), localPort = offset(\.local_port), address = offset(\.address)
    let family = offset(\.family), proto = offset(\.protocol), ethertype = offset(\.ethertype)
    let pid = offset(\.pid), ppid = offset(\.ppid), hostPid = offset(\.host_pid), hostUID = offset(\.host_uid)
    let execCount = offset(\.exec_count), startedAt = offset(\.start_ns), comm = offset(\.comm), exe = offset(\.exe)

    static let event = Layout()

    private static func offset(_ field: PartialKeyPath<corral_file_event>) -> Int {
        guard let offset = MemoryLayout<corral_file_event>.offset(of: field) else {
            preconditionFailure("corral_file_event has a field without an offset")
        }
        return offset
    }

    private static func offset(_ field: PartialKeyPath<corral_event>) -> Int {
        guard let offset = MemoryLayout<corral_event>.offset(of: field) else {
            // Every stored field of a C struct has an offset.
            preconditionFailure("corral_event has a field without an offset")
        }
        return offset
    }
}

/// The contract with the BPF programs as a whole.
public enum EventWire {
    /// `CORRAL_ABI_VERSION` of bpf/abi/corral_abi.h.
    public static let abiVersion = UInt32(CORRAL_ABI_VERSION)
}
