public import CorralPolicy

/// A system call that a process of the sandbox made.
public struct Syscall: Sendable, Equatable {
    public enum Outcome: Sendable, Equatable {
        /// What the call returned; -1 to -4095 are errors.
        case returned(Int64)
        /// It was refused by the sandbox's seccomp filter and never begun; the result that the filter gave in its place.
        case refused(Int64)
        /// The trace was switched on while it ran: neither arguments nor duration are known.
        case resumed(Int64)
        /// It has begun and does not return: exit. Or a ring has taken it, and what comes of it is not told.
        case none
    }

    /// Thread that made it, in the sandbox's pid namespace.
    public var thread: UInt32
    public var process: ProcessReference
    /// `syscall_500` where the number has no name.
    public var name: String
    public var abi: SyscallABI
    /// As strace writes them: `AT_FDCWD`, `"/etc/hosts"`, `O_RDONLY|O_CLOEXEC`. A pointer whose memory could not be read
    /// is followed by `/* unreadable */`.
    public var arguments: [String]
    public var outcome: Outcome
    /// Nanoseconds; nil where it did not begin, or not return.
    public var duration: UInt64?

    public init(
        thread: UInt32, process: ProcessReference, name: String, abi: SyscallABI, arguments: [String], outcome: Outcome,
        duration: UInt64? = nil
    ) {
        self.thread = thread
        self.process = process
        self.name = name
        self.abi = abi
        self.arguments = arguments
        self.outcome = outcome
        self.duration = duration
    }

    public var result: Int64? {
        switch outcome {
        case .returned(let result), .refused(let result), .resumed(let result): result
        case .none: nil
        }
    }

    /// Name of the error that it returned, such as `ENOENT`.
    public var error: String? { result.flatMap(ErrorName.of(result:)) }

    public var isRefused: Bool { if case .refused = outcome { true } else { false } }

    /// One line for a person or a model; nil when it was not refused.
    public var hint: String? {
        guard isRefused else { return nil }
        let refusal = "the sandbox's seccomp filter does not permit \(name)"
        guard abi == .amd64, let rule = SyscallProfile.named(.standard).rules[name] ?? Self.noRule(of: name) else {
            return refusal + "; no policy permits what is not a call of x86-64 that Linux 6.18 has"
        }
        let word = rule.condition == nil ? name : "{ name: \(name), arguments: any }"
        return refusal + "; to permit it add syscalls: { allow: [\(word)] }, where syscalls.deny does not name it"
    }

    private static func noRule(of name: String) -> SyscallProfile.Rule? {
        SyscallTable.number(name, .amd64).map { _ in SyscallProfile.Rule(.refused) }
    }
}

extension Syscall {
    /// `openat(AT_FDCWD, "/etc/hosts", O_RDONLY) = 3 <0.000012>`, as strace writes it, without a line break. Text that the
    /// sandbox chose is neutralised.
    public var line: String {
        var line: String
        let name = TerminalText.neutralised(name)
        if case .resumed = outcome {
            line = "<... \(name) resumed>)"
        } else {
            line = name + "(" + arguments.map(TerminalText.printable).joined(separator: ", ") + ")"
        }
        if abi.isMarked { line = "[\(abi.rawValue)] " + line }
        guard let result else { return line + " = ?" }
        line += " = " + resultText(result)
        if let error { line += " " + error }
        if isRefused { line += " (refused by seccomp)" }
        if let duration { line += " <\(Self.seconds(duration))>" }
        return line
    }

    /// `0.000012`.
    static func seconds(_ nanoseconds: UInt64) -> String {
        let microseconds = nanoseconds / 1000
        let fraction = String(microseconds % 1_000_000)
        return "\(microseconds / 1_000_000)." + String(repeating: "0", count: 6 - fraction.count) + fraction
    }

    private func resultText(_ result: Int64) -> String {
        if error != nil { return ErrorName.isRestart(result) ? "?" : "-1" }
        if Self.returnsPointer.contains(name), result != 0 {
            return "0x" + String(UInt64(bitPattern: result), radix: 16)
        }
        return String(result)
    }

    private static let returnsPointer: Set<String> = ["brk", "mmap", "mmap2", "mremap", "shmat"]
}

/// Numbers of errors, which are the same on every architecture that has a table.
enum ErrorName {
    private static let names: [String] = """
        EPERM ENOENT ESRCH EINTR EIO ENXIO E2BIG ENOEXEC EBADF ECHILD EAGAIN ENOMEM EACCES EFAULT ENOTBLK EBUSY EEXIST
        EXDEV ENODEV ENOTDIR EISDIR EINVAL ENFILE EMFILE ENOTTY ETXTBSY EFBIG ENOSPC ESPIPE EROFS EMLINK EPIPE EDOM
        ERANGE EDEADLK ENAMETOOLONG ENOLCK ENOSYS ENOTEMPTY ELOOP - ENOMSG EIDRM ECHRNG EL2NSYNC EL3HLT EL3RST ELNRNG
        EUNATCH ENOCSI EL2HLT EBADE EBADR EXFULL ENOANO EBADRQC EBADSLT - EBFONT ENOSTR ENODATA ETIME ENOSR ENONET
        ENOPKG EREMOTE ENOLINK EADV ESRMNT ECOMM EPROTO EMULTIHOP EDOTDOT EBADMSG EOVERFLOW ENOTUNIQ EBADFD EREMCHG
        ELIBACC ELIBBAD ELIBSCN ELIBMAX ELIBEXEC EILSEQ ERESTART ESTRPIPE EUSERS ENOTSOCK EDESTADDRREQ EMSGSIZE
        EPROTOTYPE ENOPROTOOPT EPROTONOSUPPORT ESOCKTNOSUPPORT EOPNOTSUPP EPFNOSUPPORT EAFNOSUPPORT EADDRINUSE
        EADDRNOTAVAIL ENETDOWN ENETUNREACH ENETRESET ECONNABORTED ECONNRESET ENOBUFS EISCONN ENOTCONN ESHUTDOWN
        ETOOMANYREFS ETIMEDOUT ECONNREFUSED EHOSTDOWN EHOSTUNREACH EALREADY EINPROGRESS ESTALE EUCLEAN ENOTNAM ENAVAIL
        EISNAM EREMOTEIO EDQUOT ENOMEDIUM EMEDIUMTYPE ECANCELED ENOKEY EKEYEXPIRED EKEYREVOKED EKEYREJECTED EOWNERDEAD
        ENOTRECOVERABLE ERFKILL EHWPOISON
        """.split(whereSeparator: \.isWhitespace).map(String.init)

    /// Never seen by programs: the kernel starts the call again, or makes EINTR of it.
    private static let restarts: [Int64: String] = [
        512: "ERESTARTSYS", 513: "ERESTARTNOINTR", 514: "ERESTARTNOHAND", 516: "ERESTART_RESTARTBLOCK",
    ]

    static func isRestart(_ result: Int64) -> Bool { result < 0 && result >= -4095 && restarts[-result] != nil }

    /// Nil when `result` is no error.
    static func of(result: Int64) -> String? {
        guard result < 0, result >= -4095 else { return nil }
        let number = -result
        if number <= names.count, names[Int(number) - 1] != "-" { return names[Int(number) - 1] }
        return restarts[number] ?? "errno \(number)"
    }
}
