internal import CLinux
internal import CorralControl
internal import Glibc
internal import Synchronization

/// What corral-spawn needs to know to make a sandbox.
public struct SpawnRequest: Sendable {
    /// A directory or file of the host shown inside.
    public struct Mount: Sendable {
        /// Who, on the host, is root inside; everybody else is nobody there.
        public struct Owner: Sendable, Equatable {
            public var uid: UInt32
            public var gid: UInt32

            public init(uid: UInt32, gid: UInt32) {
                self.uid = uid
                self.gid = gid
            }
        }

        public var source: String
        /// Nil: what is at `source` then. Otherwise this, whatever is at `source` by then.
        public var descriptor: SharedDescriptor?
        public var target: String
        public var readOnly: Bool
        /// Nil: ids are those of the sandbox, counted from its root.
        public var owner: Owner?

        public init(
            source: String, descriptor: SharedDescriptor? = nil, target: String, readOnly: Bool, owner: Owner? = nil
        ) {
            self.source = source
            self.descriptor = descriptor
            self.target = target
            self.readOnly = readOnly
            self.owner = owner
        }
    }

    /// Host uid and gid of the sandbox's root, at least 65536, and how many follow, at least 1024.
    public var uidBase: UInt32
    public var uidCount: UInt32
    /// Limits of the tmpfs that takes all writes; 0: the kernel's default.
    public var upperBytes: UInt64
    public var upperInodes: UInt64
    /// One label: letters, digits, inner hyphens; at most 63 bytes.
    public var hostname: String
    /// Root directory of the read-only image, on the host.
    public var image: String
    /// Root directories of read-only layers above it, the topmost first. At most 16.
    public var layers: [String]
    /// At most 16.
    public var mounts: [Mount]

    public init(
        uidBase: UInt32, uidCount: UInt32, upperBytes: UInt64, upperInodes: UInt64, hostname: String, image: String,
        layers: [String] = [], mounts: [Mount]
    ) {
        self.uidBase = uidBase
        self.uidCount = uidCount
        self.upperBytes = upperBytes
        self.upperInodes = upperInodes
        self.hostname = hostname
        self.image = image
        self.layers = layers
        self.mounts = mounts
    }

    /// Most layers above an image, and most mounts.
    public static let maximumLayers = Int(CORRAL_SPAWN_LAYERS)
    public static let maximumMounts = Int(CORRAL_SPAWN_MOUNTS)

    func message(tag: UInt64) throws(KernelError) -> [UInt8] {
        guard mounts.count <= Int(CORRAL_SPAWN_MOUNTS) else {
            throw KernelError(
                call: "spawn", subject: "mounts", errno: E2BIG, detail: "at most \(CORRAL_SPAWN_MOUNTS)")
        }
        guard layers.count <= Int(CORRAL_SPAWN_LAYERS) else {
            throw KernelError(
                call: "spawn", subject: "layers", errno: E2BIG, detail: "at most \(CORRAL_SPAWN_LAYERS)")
        }
        var message = ControlMessage(CORRAL_SPAWN_REQUEST, tag: tag)
        message.append(uidBase)
        message.append(uidCount)
        message.append(upperBytes)
        message.append(upperInodes)
        message.append(UInt32(0))  // v1 cgroups are entered later, by `SandboxCgroup.apply`
        message.append(UInt32(truncatingIfNeeded: mounts.count))
        message.append(UInt32(truncatingIfNeeded: layers.count))
        message.append(UInt32(0))
        try message.append(field: hostname, width: CORRAL_HOSTNAME_BYTES, named: "host name")
        try message.append(field: image, width: CORRAL_PATH_BYTES, named: "image")
        for layer in layers { try message.append(field: layer, width: CORRAL_PATH_BYTES, named: "layer") }
        message.append(zeros: (Int(CORRAL_SPAWN_LAYERS) - layers.count) * Int(CORRAL_PATH_BYTES))
        for mount in mounts {
            try message.append(field: mount.source, width: CORRAL_PATH_BYTES, named: "mount source \(mount.source)")
            try message.append(field: mount.target, width: CORRAL_PATH_BYTES, named: "mount target \(mount.target)")
            var flags: UInt32 = mount.readOnly ? CORRAL_MOUNT_READ_ONLY.rawValue : 0
            if mount.descriptor != nil { flags |= CORRAL_MOUNT_DESCRIPTOR.rawValue }
            if mount.owner != nil { flags |= CORRAL_MOUNT_OWNED.rawValue }
            message.append(flags)
            message.append(mount.owner?.uid ?? 0)
            message.append(mount.owner?.gid ?? 0)
            message.append(UInt32(0))
        }
        message.append(zeros: MemoryLayout<corral_spawn_request>.size - message.bytes.count)
        return try message.finish()
    }
}

/// A sandbox in which corral-init is parked.
@frozen public struct SpawnedSandbox: ~Copyable, Sendable {
    /// Of corral-init, on the host.
    public let pid: Int32
    public let pidfd: FileDescriptor
    /// For `InitChannel`.
    public let control: FileDescriptor
    /// An rtnetlink socket of the sandbox's network namespace.
    public let netlink: FileDescriptor
    /// The network namespace.
    public let netns: FileDescriptor
    /// For `SandboxHooks.probe`.
    public let probe: ProbeMeans
}

/// Makes sandboxes through corral-spawn, a small helper process: forking the daemon itself would copy its page tables.
/// Any thread may call; requests are dealt with one at a time.
public final class Spawner: Sendable {
    private struct Helper: Sendable {
        var pid: pid_t
        var control: SharedDescriptor
    }

    private struct State: Sendable {
        var helper: Helper?
        var tag: UInt64 = 0
        var isStopped = false
    }

    /// corral-spawn itself gives a sandbox up after a shorter time.
    private static let timeoutMilliseconds: Int32 = 60_000
    private static let name = "corral-spawn"
    /// Of a successful reply.
    private static let descriptorCount = 5

    private let state = Mutex(State())

    /// Starts the helper, so that the first sandbox does not wait for it.
    public init() throws(KernelError) {
        let helper = try Self.start()
        state.withLock { $0.helper = helper }
    }

    deinit { stop() }

    /// Blocks until corral-init runs in the new sandbox. A helper that has died is started anew by the next call.
    /// - Parameter cgroupDirectory: the v2 directory in which the sandbox starts, an open descriptor.
    public func spawn(
        _ request: SpawnRequest, cgroupDirectory: borrowing FileDescriptor
    ) throws(KernelError) -> SpawnedSandbox {
        let directory = cgroupDirectory.raw
        let reply = state.withLock { state -> Result<ReceivedMessage, KernelError> in
            do throws(KernelError) {
                return .success(try Self.exchange(request, directory: directory, &state))
            } catch {
                return .failure(error)
            }
        }
        let message = try reply.get()
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

    /// Ends the helper and waits for that; sandboxes stay. Later calls of `spawn` fail.
    public func stop() {
        state.withLock { state in
            state.isStopped = true
            Self.end(&state)
        }
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
        _ request: SpawnRequest, directory: Int32, _ state: inout State
    ) throws(KernelError) -> ReceivedMessage {
        guard !state.isStopped else {
            throw KernelError(call: name, errno: ESHUTDOWN, detail: "the spawner was stopped")
        }
        state.tag &+= 1
        let tag = state.tag
        let bytes = try request.message(tag: tag)
        let helper: Helper
        if let running = state.helper {
            helper = running
        } else {
            helper = try start()
            state.helper = helper
        }
        let socket = helper.control.raw
        do throws(KernelError) {
            let descriptors = [directory] + request.mounts.compactMap { $0.descriptor?.raw }
            try systemCall("sendmsg", on: name) {
                corral_send_message(socket, bytes, bytes.count, descriptors, descriptors.count)
            }
            while true {
                let ready = try systemCall("poll", on: name) { corral_wait_readable(socket, timeoutMilliseconds) }
                guard ready > 0 else { throw KernelError(call: name, errno: ETIMEDOUT) }
                guard let message = try ReceivedMessage.receive(from: socket, named: name) else {
                    throw KernelError(call: name, errno: ECONNRESET, detail: "the helper has ended")
                }
                guard message.type == CORRAL_SPAWN_REPLY.rawValue, message.tag == tag else {
                    throw ReceivedMessage.malformed("type \(message.type)", from: name)
                }
                let count = message.int32(at: 16) == 0 ? descriptorCount : 0
                try message.expect(
                    size: MemoryLayout<corral_spawn_reply>.size, descriptors: count...count, from: name)
                return message
            }
        } catch {
            // Out of step, or gone: a new helper has no old answers in its queue.
            end(&state)
            throw error
        }
    }

    private static func end(_ state: inout State) {
        guard let helper = state.helper else { return }
        state.helper = nil
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
