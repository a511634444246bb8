/// A process of the sandbox has executed a program, made another process, or ended.
public struct ProcessChange: Sendable, Equatable {
    public enum Action: Sendable, Equatable {
        /// `process` shows it as it is then.
        /// - Parameters:
        ///   - arguments: the first 512 bytes of them; `isCut` when there were more, or none could be read.
        ///   - directory: the working directory; begins with `…/` where directories at its front may be missing.
        case exec(arguments: [String], isCut: Bool, directory: String)
        case fork(Child)
        case exit(Ending, Usage)
    }

    public struct Child: Sendable, Equatable {
        /// In the sandbox's pid namespace.
        public var pid: UInt32
        public var hostPid: UInt32
        /// Of its events until it executes another program.
        public var execID: String

        public init(pid: UInt32, hostPid: UInt32, execID: String) {
            self.pid = pid
            self.hostPid = hostPid
            self.execID = execID
        }
    }

    public enum Ending: Sendable, Equatable {
        case code(UInt8)
        case signal(UInt8, dumpedCore: Bool)
    }

    /// What it used from its beginning, all its threads together, without its children.
    public struct Usage: Sendable, Equatable {
        /// CPU time, nanoseconds.
        public var user: UInt64
        public var system: UInt64
        /// Most memory that was resident at once, in bytes.
        public var peakMemory: UInt64

        public init(user: UInt64, system: UInt64, peakMemory: UInt64) {
            self.user = user
            self.system = system
            self.peakMemory = peakMemory
        }
    }

    public var process: ProcessReference
    public var action: Action

    public init(process: ProcessReference, action: Action) {
        self.process = process
        self.action = action
    }
}

extension ProcessChange.Action {
    /// The word in the event's `action`.
    public var name: String {
        switch self {
        case .exec: "exec"
        case .fork: "fork"
        case .exit: "exit"
        }
    }
}

/// Names of signals as strace writes them; those of x86-64 and arm64, which agree.
public enum SignalNumber {
    private static let names: [String] = """
        SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM
        SIGTERM SIGSTKFLT SIGCHLD SIGCONT SIGSTOP SIGTSTP SIGTTIN SIGTTOU SIGURG SIGXCPU SIGXFSZ SIGVTALRM SIGPROF
        SIGWINCH SIGIO SIGPWR SIGSYS
        """.split(whereSeparator: \.isWhitespace).map(String.init)

    /// `SIGKILL`, `SIGRT_3`; otherwise the number.
    public static func name(_ number: some BinaryInteger) -> String {
        if number >= 1, number <= names.count { return names[Int(number) - 1] }
        if number >= 32, number <= 64 { return "SIGRT_\(number - 32)" }
        return String(number)
    }

    static func number(_ name: String) -> UInt8? {
        (1...127 as ClosedRange<UInt8>).first { self.name($0) == name }
    }
}
