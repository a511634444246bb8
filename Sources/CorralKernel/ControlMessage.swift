internal import CLinux
internal import CorralControl
internal import Glibc

/// Bytes of a message of corral_control.h, laid out field by field. Its structures have no padding.
struct ControlMessage {
    private(set) var bytes: [UInt8] = []

    /// The size is filled in by `finish`.
    init(_ type: corral_control_type, tag: UInt64) {
        append(UInt16(CORRAL_CONTROL_VERSION))
        append(UInt16(truncatingIfNeeded: type.rawValue))
        append(UInt32(0))
        append(tag)
    }

    mutating func append(_ value: some FixedWidthInteger) {
        var rest = value.littleEndian
        for _ in 0..<(value.bitWidth / 8) {
            bytes.append(UInt8(truncatingIfNeeded: rest))
            rest >>= 8
        }
    }

    mutating func append(contentsOf raw: UnsafeMutableRawBufferPointer) {
        bytes.append(contentsOf: raw)
    }

    mutating func append(_ raw: [UInt8]) {
        bytes += raw
    }

    /// Zero-terminated. Throws for a text that contains a zero byte.
    mutating func append(string text: String, named name: String) throws(KernelError) {
        guard !text.utf8.contains(0) else {
            throw KernelError(call: "control message", subject: name, errno: EINVAL, detail: "contains a zero byte")
        }
        bytes += text.utf8
        bytes.append(0)
    }

    /// A field of `width` bytes, zero-terminated and filled up with zeros.
    mutating func append(field text: String, width: some BinaryInteger, named name: String) throws(KernelError) {
        let width = Int(width)
        guard text.utf8.count < width else {
            throw KernelError(
                call: "control message", subject: name, errno: ENAMETOOLONG, detail: "longer than \(width - 1) bytes")
        }
        try append(string: text, named: name)
        bytes += repeatElement(0, count: width - 1 - text.utf8.count)
    }

    mutating func append(zeros count: Int) {
        bytes += repeatElement(0, count: max(0, count))
    }

    /// The whole message, with its size in the header.
    consuming func finish() throws(KernelError) -> [UInt8] {
        guard bytes.count <= Int(CORRAL_CONTROL_MAX) else {
            throw KernelError(
                call: "control message", errno: E2BIG,
                detail: "\(bytes.count) bytes of arguments, environment and filter exceed \(CORRAL_CONTROL_MAX)")
        }
        let size = UInt32(bytes.count)
        for index in 0..<4 { bytes[4 + index] = UInt8(truncatingIfNeeded: size >> UInt32(8 * index)) }
        return bytes
    }
}

/// A received message whose header fits it, with its descriptors.
struct ReceivedMessage {
    let type: UInt32
    let tag: UInt64
    let descriptors: [SharedDescriptor]
    private let bytes: [UInt8]

    /// `nil`: the other side has closed.
    static func receive(from socket: Int32, named name: String) throws(KernelError) -> ReceivedMessage? {
        var bytes = [UInt8](repeating: 0, count: 256)
        var raw = [Int32](repeating: -1, count: 5)
        var count = 0
        let length: Int
        do throws(KernelError) {
            length = try systemCall("recvmsg", on: name) {
                corral_receive_message(socket, &bytes, bytes.count, &raw, raw.count, &count)
            }
        } catch {
            if error.errno == ECONNRESET { return nil }
            throw error
        }
        let descriptors = raw.prefix(count).map { SharedDescriptor(FileDescriptor(owning: $0)) }
        if length == 0 { return nil }
        return try ReceivedMessage(Array(bytes.prefix(length)), descriptors, named: name)
    }

    init(_ bytes: [UInt8], _ descriptors: [SharedDescriptor], named name: String) throws(KernelError) {
        self.bytes = bytes
        self.descriptors = descriptors
        guard bytes.count >= MemoryLayout<corral_control_header>.size else {
            throw Self.malformed("\(bytes.count) bytes", from: name)
        }
        let size = Self.number(bytes, at: 4, count: 4)
        type = UInt32(truncatingIfNeeded: Self.number(bytes, at: 2, count: 2))
        tag = Self.number(bytes, at: 8, count: 8)
        let version = Self.number(bytes, at: 0, count: 2)
        guard version == UInt64(CORRAL_CONTROL_VERSION) else {
            throw KernelError(
                call: "recvmsg", subject: name, errno: EPROTONOSUPPORT,
                detail: "it speaks version \(version) of the protocol; this corrald speaks \(CORRAL_CONTROL_VERSION)")
        }
        guard size == UInt64(bytes.count) else { throw Self.malformed("a header that does not fit", from: name) }
    }

    /// The message is `size` bytes and brought a permitted number of descriptors.
    func expect(size: Int, descriptors permitted: ClosedRange<Int>, from name: String) throws(KernelError) {
        guard bytes.count == size, permitted.contains(descriptors.count) else {
            throw Self.malformed(
                "type \(type) with \(bytes.count) bytes and \(descriptors.count) descriptors", from: name)
        }
    }

    static func malformed(_ what: String, from name: String) -> KernelError {
        KernelError(call: "recvmsg", subject: name, errno: EPROTO, detail: "malformed message: \(what)")
    }

    /// Zero beyond the end.
    func uint32(at offset: Int) -> UInt32 { UInt32(truncatingIfNeeded: Self.number(bytes, at: offset, count: 4)) }
    func int32(at offset: Int) -> Int32 { Int32(bitPattern: uint32(at: offset)) }
    func uint64(at offset: Int) -> UInt64 { Self.number(bytes, at: offset, count: 8) }

    private static func number(_ bytes: [UInt8], at offset: Int, count: Int) -> UInt64 {
        var value: UInt64 = 0
        for byte in bytes.dropFirst(offset).prefix(count).reversed() { value = value << 8 | UInt64(byte) }
        return value
    }
}

/// What a step of corral-spawn or corral-init was doing when it failed.
enum ControlStage {
    static func describe(_ stage: UInt32) -> String {
        switch corral_stage(rawValue: stage) {
        case CORRAL_STAGE_REQUEST: "read the request"
        case CORRAL_STAGE_CLONE: "clone3"
        case CORRAL_STAGE_IDMAP: "map user and group ids"
        case CORRAL_STAGE_CGROUP: "enter the cgroup"
        case CORRAL_STAGE_LOWER: "mount the image"
        case CORRAL_STAGE_UPPER: "mount the tmpfs for writes"
        case CORRAL_STAGE_OVERLAY: "mount the overlay"
        case CORRAL_STAGE_BIND: "mount a host directory"
        case CORRAL_STAGE_PROC: "mount /proc"
        case CORRAL_STAGE_SYS: "mount /sys"
        case CORRAL_STAGE_DEV: "mount /dev"
        case CORRAL_STAGE_PIVOT: "pivot_root"
        case CORRAL_STAGE_HOSTNAME: "set the host name"
        case CORRAL_STAGE_NETLINK: "open rtnetlink"
        case CORRAL_STAGE_INIT: "start corral-init"
        case CORRAL_STAGE_PIPES: "make pipes"
        case CORRAL_STAGE_FORK: "fork"
        case CORRAL_STAGE_CHDIR: "enter the working directory"
        case CORRAL_STAGE_LIMITS: "set limits"
        case CORRAL_STAGE_PRIVILEGES: "drop privileges"
        case CORRAL_STAGE_SECCOMP: "install the seccomp filter"
        case CORRAL_STAGE_EXECVE: "execve"
        case CORRAL_STAGE_SECRETS: "write the secrets"
        case CORRAL_STAGE_TERMINAL: "open a terminal"
        default: "stage \(stage)"
        }
    }
}
