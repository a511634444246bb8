internal import CLinux
internal import CorralControl
internal import Glibc

/// What corral-init says. Descriptors are ours from then on.
public enum InitMessage: Sendable {
    case hello
    case started(
        tag: UInt64, pid: Int32, stdin: SharedDescriptor?, stdout: SharedDescriptor, stderr: SharedDescriptor)
    /// `stage` names the step, `execve` for the call itself.
    case execFailed(tag: UInt64, errno: Int32, stage: String)
    /// `status` as wait(2) gives it.
    case exited(tag: UInt64, status: Int32, userMicroseconds: UInt64, systemMicroseconds: UInt64, maxRSS: UInt64)
    case closed
}

/// The conversation with one sandbox's pid 1 (corral_control.h). Sending and receiving may happen on different threads.
public final class InitChannel: Sendable {
    /// For a poller: readable when a message waits.
    public let descriptor: SharedDescriptor

    public init(control: SharedDescriptor) {
        descriptor = control
    }

    /// - Parameters:
    ///   - seccomp: `struct sock_filter`s; empty for no filter.
    ///   - upperBytes: new size of the writable layer, 0 to leave it.
    ///   - openFiles: RLIMIT_NOFILE, 0 to leave it.
    public func exec(
        tag: UInt64, arguments: [String], environment: [String: String], workingDirectory: String, stdin: Bool,
        keepCapabilities: Bool, seccomp: [UInt8], upperBytes: UInt64, openFiles: UInt64
    ) throws(KernelError) {
        var strings: [UInt8] = []
        for text in arguments + environment.sorted(by: { $0.key < $1.key }).map({ "\($0.key)=\($0.value)" })
            + [workingDirectory]
        {
            guard !text.utf8.contains(0) else {
                throw KernelError(call: "exec", errno: EINVAL, detail: "an argument or variable holds a zero byte")
            }
            strings.append(contentsOf: text.utf8)
            strings.append(0)
        }
        let size = MemoryLayout<corral_exec>.size + seccomp.count + strings.count
        guard size <= Int(CORRAL_CONTROL_MAX) else {
            throw KernelError(
                call: "exec", errno: E2BIG, detail: "arguments and environment take \(strings.count) bytes"
            )
        }
        var flags: UInt32 = 0
        if stdin { flags |= CORRAL_EXEC_STDIN.rawValue }
        if keepCapabilities { flags |= CORRAL_EXEC_KEEP_CAPABILITIES.rawValue }
        var bytes = Self.header(CORRAL_EXEC, size: size, tag: tag)
        bytes.appendWord(flags)
        bytes.appendWord(UInt32(arguments.count))
        bytes.appendWord(UInt32(environment.count))
        bytes.appendWord(UInt32(seccomp.count))
        bytes.appendLong(upperBytes)
        bytes.appendLong(openFiles)
        try send(bytes + seccomp + strings)
    }

    /// To the process group of the command that `tag` started.
    public func signal(tag: UInt64, _ signal: Int32) throws(KernelError) {
        var bytes = Self.header(CORRAL_SIGNAL, size: MemoryLayout<corral_signal>.size, tag: tag)
        bytes.appendWord(UInt32(bitPattern: signal))
        bytes.appendWord(0)
        try send(bytes)
    }

    private func send(_ bytes: [UInt8]) throws(KernelError) {
        try systemCall("sendmsg", on: "corral-init") {
            bytes.withUnsafeBytes { corral_send_message(descriptor.raw, $0.baseAddress, $0.count, nil, 0) }
        }
    }

    static func header(_ type: corral_control_type, size: Int, tag: UInt64) -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.appendWord(UInt32(CORRAL_CONTROL_VERSION) | type.rawValue << 16)
        bytes.appendWord(UInt32(size))
        bytes.appendLong(tag)
        return bytes
    }

    /// Nil after `timeoutMilliseconds` without a message. A message that does not fit the contract is an error.
    public func receive(timeoutMilliseconds: Int32) throws(KernelError) -> InitMessage? {
        let ready = try systemCall("poll", on: "corral-init") {
            corral_wait_readable(descriptor.raw, timeoutMilliseconds)
        }
        guard ready > 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: 256)
        var raw = [Int32](repeating: -1, count: 3)
        var count = 0
        let size: Int
        do {
            size = try systemCall("recvmsg", on: "corral-init") {
                bytes.withUnsafeMutableBytes { corral_receive_message(descriptor.raw, $0.baseAddress, $0.count, &raw, 3, &count) }
            }
        } catch let error where error.errno == ECONNRESET {
            return .closed
        }
        let descriptors = raw.prefix(count).map { SharedDescriptor(FileDescriptor(owning: $0)) }
        if size == 0 { return .closed }
        return try Self.decode(Array(bytes.prefix(size)), descriptors)
    }

    static func decode(_ bytes: [UInt8], _ descriptors: [SharedDescriptor]) throws(KernelError) -> InitMessage {
        func malformed(_ what: String) -> KernelError {
            KernelError(call: "recvmsg", subject: "corral-init", errno: EBADMSG, detail: what)
        }
        func load<Value: BitwiseCopyable>(_ offset: Int, as type: Value.Type) -> Value {
            bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
        }
        guard bytes.count >= 16, load(0, as: UInt16.self) == UInt16(CORRAL_CONTROL_VERSION),
            load(4, as: UInt32.self) == bytes.count
        else { throw malformed("header") }
        let tag = load(8, as: UInt64.self)
        func expect(_ size: Int, descriptors allowed: ClosedRange<Int>) throws(KernelError) {
            guard bytes.count == size, allowed.contains(descriptors.count) else { throw malformed("size or descriptors") }
        }
        switch UInt32(load(2, as: UInt16.self)) {
        case CORRAL_HELLO.rawValue:
            try expect(MemoryLayout<corral_hello>.size, descriptors: 0...0)
            return .hello
        case CORRAL_STARTED.rawValue:
            try expect(MemoryLayout<corral_started>.size, descriptors: 2...3)
            let output = descriptors.suffix(2)
            return .started(
                tag: tag, pid: load(16, as: Int32.self), stdin: descriptors.count == 3 ? descriptors[0] : nil,
                stdout: output[output.startIndex], stderr: output[output.startIndex + 1]
            )
        case CORRAL_EXEC_FAILED.rawValue:
            try expect(MemoryLayout<corral_exec_failed>.size, descriptors: 0...0)
            return .execFailed(tag: tag, errno: load(16, as: Int32.self), stage: stageName(load(20, as: UInt32.self)))
        case CORRAL_EXITED.rawValue:
            try expect(MemoryLayout<corral_exited>.size, descriptors: 0...0)
            return .exited(
                tag: tag, status: load(16, as: Int32.self), userMicroseconds: load(24, as: UInt64.self),
                systemMicroseconds: load(32, as: UInt64.self), maxRSS: load(40, as: UInt64.self)
            )
        default:
            throw malformed("type")
        }
    }
}

/// A word for one of `enum corral_stage`.
func stageName(_ stage: UInt32) -> String {
    let names: [UInt32: String] = [
        0: "none", 1: "request", 2: "clone", 3: "idmap", 4: "cgroup", 5: "image", 6: "upper", 7: "overlay", 8: "bind mount",
        9: "proc", 10: "sys", 11: "dev", 12: "pivot_root", 13: "hostname", 14: "netlink", 15: "init", 32: "pipes",
        33: "fork", 34: "chdir", 35: "limits", 36: "privileges", 37: "seccomp", 38: "execve",
    ]
    return names[stage] ?? "stage \(stage)"
}
