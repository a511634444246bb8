internal import CLinux
internal import CorralControl
internal import Glibc

/// How the next daemon comes to speak to a corral-init whose daemon is gone.
extension InitChannel {
    /// Of what is spoken with corral-init (CORRAL_CONTROL_VERSION).
    public static let version = Int(CORRAL_CONTROL_VERSION)

    /// Makes a socket at `path` that corral-init listens on from now on. Its directory lets nobody but root in. Once.
    public func offer(at path: String) throws(KernelError) {
        let listener = FileDescriptor(
            owning: try systemCall("listen", on: path) { corral_socket_listen(path) })
        let bytes = try ControlMessage(CORRAL_LISTEN, tag: 0).finish()
        let (socket, offered) = (descriptor.raw, [listener.raw])
        try systemCall("sendmsg", on: "corral-init") {
            corral_send_message(socket, bytes, bytes.count, offered, offered.count)
        }
        crashPoint("init.offered")
    }

    /// Connects where an earlier daemon's `offer` was. Throws ECONNREFUSED when that corral-init is gone.
    public static func succeed(at path: String) throws(KernelError) -> InitChannel {
        InitChannel(
            control: FileDescriptor(owning: try systemCall("connect", on: path) { corral_socket_connect(path) }))
    }

    /// To a corral-init that is gone.
    public static func ended() throws(KernelError) -> InitChannel {
        var (ours, theirs): (Int32, Int32) = (-1, -1)
        try systemCall("socketpair") { corral_socketpair(&ours, &theirs) }
        _ = close(theirs)
        return InitChannel(control: FileDescriptor(owning: ours))
    }

    /// The end of a command is written down, and what it wrote is taken: no successor needs to hear of it.
    public func forget(tag: UInt64) throws(KernelError) {
        try send(try ControlMessage(CORRAL_FORGET, tag: tag).finish())
        crashPoint("init.forgets")
    }

    /// What corral-init holds of its commands, told anew after `succeed`: all that come within the time given.
    public func recount(timeoutMilliseconds: Int32) throws(KernelError) -> [InitMessage] {
        guard case .hello(let count)? = try receive(timeoutMilliseconds: timeoutMilliseconds) else {
            throw KernelError(call: "corral-init", errno: ETIMEDOUT, detail: "did not greet its new daemon")
        }
        var messages: [InitMessage] = []
        var tags: Set<UInt64> = []
        while let message = try receive(timeoutMilliseconds: tags.count < count ? timeoutMilliseconds : 0) {
            messages.append(message)
            switch message {
            case .started(let tag, _, _, _, _), .execFailed(let tag, _, _): tags.insert(tag)
            case .exited, .hello: break
            case .closed: return messages
            }
        }
        return messages
    }
}

/// A process of the host, which its number alone does not tell from a later one.
public struct ProcessIdentity: Sendable, Equatable, Codable {
    public var pid: Int32
    /// Clock ticks from the host's start to the process's.
    public var startTime: UInt64

    public init(pid: Int32, startTime: UInt64) {
        self.pid = pid
        self.startTime = startTime
    }

    /// As it is now. Throws ENOENT when there is none.
    public init(pid: Int32) throws(KernelError) {
        self = try Self.status(of: pid).identity
    }

    /// One that has ended and that its parent has not asked for yet is not.
    public var isAlive: Bool {
        guard let (found, state) = try? Self.status(of: pid) else { return false }
        return found == self && state != "Z" && state != "X"
    }

    /// Whether it has ended, or does so within that time. Blocks.
    public func ends(withinMilliseconds limit: Int) -> Bool {
        let begun = ContinuousClock.now
        while isAlive {
            guard ContinuousClock.now - begun < .milliseconds(limit) else { return false }
            usleep(5000)
        }
        return true
    }

    private static func status(of pid: Int32) throws(KernelError) -> (identity: ProcessIdentity, state: Substring) {
        let path = "/proc/\(pid)/stat"
        // The name, in parentheses, may hold anything; the state is the first field behind it, the start time the 20th (proc(5)).
        let fields = try CgroupFile.read(path).split(separator: ")").last?.split(separator: " ") ?? []
        guard fields.count > 19, let time = UInt64(fields[19]) else {
            throw KernelError(call: "read", subject: path, errno: EBADMSG)
        }
        return (ProcessIdentity(pid: pid, startTime: time), fields[0])
    }
}
