internal import CLinux
internal import CorralControl
internal import Glibc

/// What corral-init tells about its sandbox.
public enum InitMessage: Sendable {
    /// Parked and ready for commands. `commands`: how many of an earlier daemon's it will tell of.
    case hello(commands: UInt64)
    /// `pid` is the one inside. `stdin` is the write end of a pipe, the others are read ends. Of a command with a terminal
    /// `stdin` and `stdout` are both its master, and `stderr` is nil.
    case started(
        tag: UInt64, pid: Int32, stdin: SharedDescriptor?, stdout: SharedDescriptor, stderr: SharedDescriptor?)
    /// The command did not start; `stage` says at what: `execve`.
    case execFailed(tag: UInt64, errno: Int32, stage: String)
    /// `status` as wait(2) gives it; `maxRSS` in KiB.
    case exited(tag: UInt64, status: Int32, userMicroseconds: UInt64, systemMicroseconds: UInt64, maxRSS: UInt64)
    /// corral-init is gone, and with it everything in its sandbox.
    case closed
}

/// The conversation with one sandbox's corral-init. Any thread may send; one at a time receives.
public final class InitChannel: Sendable {
    /// For a poller; readable when `receive` would not wait.
    public let descriptor: SharedDescriptor
    private static let name = "corral-init"

    public init(control: consuming FileDescriptor) {
        descriptor = SharedDescriptor(control)
        // A corral-init that does not read must not hold up the daemon; sends then fail with EAGAIN.
        var limit = timeval(tv_sec: 5, tv_usec: 0)
        _ = setsockopt(descriptor.raw, SOL_SOCKET, SO_SNDTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
    }

    /// Asks to start a command; `started` or `execFailed` with the same `tag` answers.
    /// - Parameters:
    ///   - arguments: at least one. A first one without a slash is looked up in the PATH of `environment`.
    ///   - stdin: make a pipe; otherwise the command reads /dev/null.
    ///   - keepCapabilities: leave the sandbox root's capabilities to the command; for tests.
    ///   - seccomp: what `SeccompProgram` compiled; empty: no filter.
    ///   - upperBytes: new limit of what the sandbox may write in all; 0 leaves it.
    ///   - openFiles: RLIMIT_NOFILE; 0 leaves it.
    ///   - user: numbers inside; the sandbox's last one is corral-init's own and refused by it.
    ///   - terminal: a terminal of this size takes the place of the pipes, of stdin's too.
    ///   - processes: RLIMIT_NPROC, processes and threads of the command's user in the sandbox; 0 leaves it.
    /// Throws EINVAL for a zero byte in a text or a malformed variable, E2BIG beyond 512 KiB.
    public func exec(
        tag: UInt64, arguments: [String], environment: [String: String], workingDirectory: String, stdin: Bool,
        keepCapabilities: Bool, seccomp: [UInt8], upperBytes: UInt64, openFiles: UInt64,
        user: (uid: UInt32, gid: UInt32) = (0, 0), terminal: (rows: UInt16, columns: UInt16)? = nil,
        processes: UInt32 = 0
    ) throws(KernelError) {
        try send(
            Self.execMessage(
                tag: tag, arguments: arguments, environment: environment, workingDirectory: workingDirectory,
                stdin: stdin, keepCapabilities: keepCapabilities, seccomp: seccomp, upperBytes: upperBytes,
                openFiles: openFiles, user: user, terminal: terminal, processes: processes))
    }

    static func execMessage(
        tag: UInt64, arguments: [String], environment: [String: String], workingDirectory: String, stdin: Bool,
        keepCapabilities: Bool, seccomp: [UInt8], upperBytes: UInt64, openFiles: UInt64,
        user: (uid: UInt32, gid: UInt32) = (0, 0), terminal: (rows: UInt16, columns: UInt16)? = nil,
        processes: UInt32 = 0
    ) throws(KernelError) -> [UInt8] {
        guard !arguments.isEmpty else {
            throw KernelError(call: "exec", errno: EINVAL, detail: "no arguments")
        }
        guard let argumentCount = UInt32(exactly: arguments.count),
            let variableCount = UInt32(exactly: environment.count),
            let seccompCount = UInt32(exactly: seccomp.count)
        else { throw KernelError(call: "exec", errno: E2BIG) }

        var flags: UInt32 = 0
        if terminal != nil {
            flags |= CORRAL_EXEC_TERMINAL.rawValue
        } else if stdin {
            flags |= CORRAL_EXEC_STDIN.rawValue
        }
        if keepCapabilities { flags |= CORRAL_EXEC_KEEP_CAPABILITIES.rawValue }

        var message = ControlMessage(CORRAL_EXEC, tag: tag)
        message.append(flags)
        message.append(argumentCount)
        message.append(variableCount)
        message.append(seccompCount)
        message.append(upperBytes)
        message.append(openFiles)
        message.append(user.uid)
        message.append(user.gid)
        message.append(terminal?.rows ?? 0)
        message.append(terminal?.columns ?? 0)
        message.append(processes)
        message.append(seccomp)
        for argument in arguments { try message.append(string: argument, named: "argument") }
        for (name, value) in environment.sorted(by: { $0.key < $1.key }) {
            guard !name.isEmpty, !name.utf8.contains(UInt8(ascii: "=")) else {
                throw KernelError(call: "exec", subject: "variable \(name)", errno: EINVAL, detail: "no valid name")
            }
            try message.append(string: "\(name)=\(value)", named: "variable \(name)")
        }
        try message.append(string: workingDirectory, named: "working directory")
        return try message.finish()
    }

    /// Sends `number` to the process group of the command that `tag` started; nothing happens when it has ended.
    public func signal(tag: UInt64, _ number: Int32) throws(KernelError) {
        var message = ControlMessage(CORRAL_SIGNAL, tag: tag)
        message.append(number)
        message.append(UInt32(0))
        try send(message.finish())
    }

    /// The next message; `nil` when none came in time (-1: no limit). After `closed` there is only `closed`. Throws
    /// EPROTO for a message that is not one of corral-init's; the conversation can go on.
    public func receive(timeoutMilliseconds: Int32) throws(KernelError) -> InitMessage? {
        let socket = descriptor.raw
        let ready = try systemCall("poll", on: Self.name) { corral_wait_readable(socket, timeoutMilliseconds) }
        if ready == 0 { return nil }
        guard let message = try ReceivedMessage.receive(from: socket, named: Self.name) else { return .closed }
        return try Self.decode(message)
    }

    static func decode(_ message: ReceivedMessage) throws(KernelError) -> InitMessage {
        switch corral_control_type(rawValue: message.type) {
        case CORRAL_HELLO:
            try message.expect(size: MemoryLayout<corral_hello>.size, descriptors: 0...0, from: name)
            return .hello(commands: message.tag)
        case CORRAL_STARTED:
            try message.expect(size: MemoryLayout<corral_started>.size, descriptors: 1...3, from: name)
            guard message.int32(at: 16) > 0 else {
                throw ReceivedMessage.malformed("pid \(message.int32(at: 16))", from: name)
            }
            let streams = message.descriptors
            if streams.count == 1 {
                // Written and read by two callers, which a poller tells apart by the descriptor.
                let stdin = SharedDescriptor(try streams[0].duplicate())
                return .started(
                    tag: message.tag, pid: message.int32(at: 16), stdin: stdin, stdout: streams[0], stderr: nil)
            }
            let outputs = streams.suffix(2)
            return .started(
                tag: message.tag, pid: message.int32(at: 16), stdin: streams.count == 3 ? streams[0] : nil,
                stdout: outputs[outputs.startIndex], stderr: outputs[outputs.startIndex + 1])
        case CORRAL_EXEC_FAILED:
            try message.expect(size: MemoryLayout<corral_exec_failed>.size, descriptors: 0...0, from: name)
            return .execFailed(
                tag: message.tag, errno: message.int32(at: 16),
                stage: ControlStage.describe(message.uint32(at: 20)))
        case CORRAL_EXITED:
            try message.expect(size: MemoryLayout<corral_exited>.size, descriptors: 0...0, from: name)
            return .exited(
                tag: message.tag, status: message.int32(at: 16), userMicroseconds: message.uint64(at: 24),
                systemMicroseconds: message.uint64(at: 32), maxRSS: message.uint64(at: 40))
        default:
            throw ReceivedMessage.malformed("type \(message.type)", from: name)
        }
    }

    func send(_ bytes: [UInt8]) throws(KernelError) {
        let socket = descriptor.raw
        crashPoint("init.before-message")
        try systemCall("sendmsg", on: Self.name) { corral_send_message(socket, bytes, bytes.count, nil, 0) }
        crashPoint("init.message")
    }
}
