internal import CLinux
internal import CorralControl
internal import Glibc
internal import Synchronization

/// Makes sandboxes through corral-spawn, a small helper process: forking the daemon itself would copy its page tables.
/// Any thread may call. A helper makes one sandbox at a time; there are as many as there are calls at once, so that none waits for
/// another, and a few are kept.
public final class Spawner: Sendable {
    private struct Helper: Sendable {
        var pid: pid_t
        var control: SharedDescriptor
    }

    private struct State: Sendable {
        /// The one used last is used next: its memory is warm, and the others can be let go.
        var idle: [Helper] = []
        var tag: UInt64 = 0
        var isStopped = false
    }

    /// Idle helpers that are kept.
    private let kept: Int

    /// corral-spawn itself gives a sandbox up after a shorter time.
    private static let timeoutMilliseconds: Int32 = 60_000
    private static let name = "corral-spawn"
    /// Of a successful reply.
    private static let descriptorCount = 5

    private let state = Mutex(State())

    /// Starts a helper, so that the first sandbox does not wait for it.
    public init() throws(KernelError) {
        kept = max(2, sysconf(Int32(_SC_NPROCESSORS_ONLN)))
        let helper = try Self.start()
        state.withLock { $0.idle = [helper] }
    }

    /// Process ids of the helpers that nobody uses; for tests.
    var idleHelpers: [pid_t] { state.withLock { $0.idle.map(\.pid) } }

    deinit { stop() }

    /// Blocks until corral-init runs in the new sandbox. A helper that has died is replaced by the next call.
    /// - Parameter cgroupDirectory: the v2 directory in which the sandbox starts, an open descriptor.
    public func spawn(
        _ request: SpawnRequest, cgroupDirectory: borrowing FileDescriptor
    ) throws(KernelError) -> SpawnedSandbox {
        let tag = state.withLock { state in
            state.tag &+= 1
            return state.tag
        }
        let bytes = try request.message(tag: tag)
        let idle = try take()
        let helper: Helper
        if let idle { helper = idle } else { helper = try Self.start() }
        let message: ReceivedMessage
        do throws(KernelError) {
            message = try Self.exchange(
                bytes, tag: tag, cgroupDirectory.raw, request.mounts.compactMap(\.descriptor), helper)
        } catch {
            // Out of step, or gone: a new helper has no old answers in its queue.
            Self.end(helper)
            throw error
        }
        giveBack(helper)
        let error = message.int32(at: 16)
        if error != 0 {
            throw KernelError(
                call: Self.name, subject: request.hostname, errno: error,
                detail: "cannot \(ControlStage.describe(message.uint32(at: 20)))")
        }
        let pid = message.int32(at: 24)
        guard pid > 1, message.descriptors.count == Self.descriptorCount else {
            throw ReceivedMessage.malformed("a reply without its descriptors", from: Self.name)
        }
        // The shared owners close theirs.
        let descriptors = message.descriptors
        return SpawnedSandbox(
            pid: pid, pidfd: try Self.duplicate(descriptors[0]), control: try Self.duplicate(descriptors[1]),
            netlink: try Self.duplicate(descriptors[2]), netns: try Self.duplicate(descriptors[3]),
            probe: ProbeMeans(datagram: descriptors[4], refused: message.uint32(at: 28)))
    }

    /// A helper that nobody uses, if there is one.
    private func take() throws(KernelError) -> Helper? {
        let (isStopped, helper) = state.withLock { ($0.isStopped, $0.idle.popLast()) }
        if isStopped { throw KernelError(call: Self.name, errno: ESHUTDOWN, detail: "the spawner was stopped") }
        return helper
    }

    private func giveBack(_ helper: Helper) {
        let isKept = state.withLock { state in
            guard !state.isStopped, state.idle.count < kept else { return false }
            state.idle.append(helper)
            return true
        }
        if !isKept { Self.end(helper) }
    }

    /// Ends the helpers and waits for that, those in use when they are done; sandboxes stay. Later calls of `spawn` fail.
    public func stop() {
        let idle = state.withLock { state in
            state.isStopped = true
            defer { state.idle = [] }
            return state.idle
        }
        for helper in idle { Self.end(helper) }
    }

    private static func start() throws(KernelError) -> Helper {
        let spawn = try embedded("corral-spawn", corral_embedded_spawn)
        let initialProcess = try embedded("corral-init", corral_embedded_init)
        var ours: Int32 = -1
        var theirs: Int32 = -1
        try systemCall("socketpair") { corral_socketpair(&ours, &theirs) }
        let control = FileDescriptor(owning: ours)
        let peer = FileDescriptor(owning: theirs)

        var pid: pid_t = -1
        let executable = spawn.raw, peerSocket = peer.raw, initExecutable = initialProcess.raw
        try systemCall("posix_spawn", on: name) {
            corral_start_helper(executable, "corral-spawn", peerSocket, initExecutable, &pid)
        }
        return Helper(pid: pid, control: SharedDescriptor(control))
    }

    private static func embedded(
        _ name: String, _ program: (UnsafeMutablePointer<Int>) -> UnsafeRawPointer?
    ) throws(KernelError) -> FileDescriptor {
        var count = 0
        let bytes = program(&count)
        return FileDescriptor(
            owning: try systemCall("memfd_create", on: name) { corral_executable_memfd(name, bytes, count) })
    }

    private static func exchange(
        _ bytes: [UInt8], tag: UInt64, _ directory: Int32, _ mounts: [SharedDescriptor], _ helper: Helper
    ) throws(KernelError) -> ReceivedMessage {
        let socket = helper.control.raw
        let descriptors = [directory] + mounts.map(\.raw)
        try systemCall("sendmsg", on: name) {
            corral_send_message(socket, bytes, bytes.count, descriptors, descriptors.count)
        }
        let ready = try systemCall("poll", on: name) { corral_wait_readable(socket, timeoutMilliseconds) }
        guard ready > 0 else { throw KernelError(call: name, errno: ETIMEDOUT) }
        guard let message = try ReceivedMessage.receive(from: socket, named: name) else {
            throw KernelError(call: name, errno: ECONNRESET, detail: "the helper has ended")
        }
        guard message.type == CORRAL_SPAWN_REPLY.rawValue, message.tag == tag else {
            throw ReceivedMessage.malformed("type \(message.type)", from: name)
        }
        let count = message.int32(at: 16) == 0 ? descriptorCount : 0
        try message.expect(size: MemoryLayout<corral_spawn_reply>.size, descriptors: count...count, from: name)
        return message
    }

    private static func end(_ helper: Helper) {
        // It ends when nobody is left at the other side, but may be busy or stuck.
        _ = kill(helper.pid, SIGKILL)
        var status: Int32 = 0
        while waitpid(helper.pid, &status, 0) < 0, errno == EINTR {}
    }

    private static func duplicate(_ shared: SharedDescriptor) throws(KernelError) -> FileDescriptor {
        let raw = shared.raw
        return FileDescriptor(owning: try systemCall("fcntl(F_DUPFD_CLOEXEC)") { fcntl(raw, F_DUPFD_CLOEXEC, 3) })
    }
}
