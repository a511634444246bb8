internal import CLinux
internal import CorralControl
internal import Glibc
internal import Synchronization

/// What a new sandbox is made of. Paths are absolute and shorter than 256 bytes.
public struct SpawnRequest: Sendable {
    public var uidBase: UInt32
    public var uidCount: UInt32
    /// Size of the writable layer; 0 for the kernel's default.
    public var upperBytes: UInt64
    public var upperInodes: UInt64
    /// Letters, digits and hyphens.
    public var hostname: String
    /// Root of the read-only lower layer.
    public var image: String
    public var mounts: [(source: String, target: String, readOnly: Bool)]

    public init(
        uidBase: UInt32, uidCount: UInt32, upperBytes: UInt64, upperInodes: UInt64, hostname: String, image: String,
        mounts: [(source: String, target: String, readOnly: Bool)]
    ) {
        self.uidBase = uidBase
        self.uidCount = uidCount
        self.upperBytes = upperBytes
        self.upperInodes = upperInodes
        self.hostname = hostname
        self.image = image
        self.mounts = mounts
    }
}

/// A parked pid 1 and the handles to it.
public struct SpawnedSandbox: ~Copyable {
    /// On the host.
    public let pid: Int32
    public let process: SharedDescriptor
    public let control: SharedDescriptor
    /// An rtnetlink socket of the sandbox's network namespace.
    public let netlink: FileDescriptor
    public let netns: FileDescriptor
}

/// corral-spawn, the helper that makes sandboxes, so that this large process never forks. One request at a time.
public final class Spawner: Sendable {
    private let control: Mutex<FileDescriptor?>
    private let tag = Mutex<UInt64>(0)

    /// Starts the embedded helper.
    public init() throws(KernelError) {
        var count = 0
        let spawn = corral_embedded_spawn(&count)
        let helper = FileDescriptor(
            owning: try systemCall("memfd_create") { corral_executable_memfd("corral-spawn", spawn, count) }
        )
        var initCount = 0
        let initBytes = corral_embedded_init(&initCount)
        let program = FileDescriptor(
            owning: try systemCall("memfd_create") { corral_executable_memfd("corral-init", initBytes, initCount) }
        )
        var ours: Int32 = -1
        var theirs: Int32 = -1
        try systemCall("socketpair") { corral_socketpair(&ours, &theirs) }
        let mine = FileDescriptor(owning: ours)
        let other = FileDescriptor(owning: theirs)
        var pid: pid_t = 0
        try systemCall("posix_spawn", on: "corral-spawn") {
            corral_start_helper(helper.raw, "corral-spawn", other.raw, program.raw, &pid)
        }
        control = Mutex(consume mine)
    }

    /// The helper ends when its socket does; sandboxes go on.
    public func stop() {
        control.withLock { $0 = nil }
    }

    /// Blocks for as long as the helper takes, at most about ten seconds.
    public func spawn(
        _ request: SpawnRequest, cgroupDirectory: borrowing FileDescriptor
    ) throws(KernelError) -> SpawnedSandbox {
        let number = tag.withLock { tag in
            tag += 1
            return tag
        }
        let bytes = try Self.encode(request, tag: number)
        let cgroup = cgroupDirectory.raw
        let (reply, raw) = try control.withLock {
            (control: inout sending FileDescriptor?) throws(KernelError) -> ([UInt8], [Int32]) in
            guard let socket = control?.raw else {
                throw KernelError(call: "sendmsg", subject: "corral-spawn", errno: EPIPE)
            }
            try systemCall("sendmsg", on: "corral-spawn") {
                bytes.withUnsafeBytes { corral_send_message(socket, $0.baseAddress, $0.count, [cgroup], 1) }
            }
            while true {
                let ready = try systemCall("poll", on: "corral-spawn") { corral_wait_readable(socket, 30_000) }
                guard ready > 0 else { throw KernelError(call: "recvmsg", subject: "corral-spawn", errno: ETIMEDOUT) }
                var answer = [UInt8](repeating: 0, count: 64)
                var raw = [Int32](repeating: -1, count: 4)
                var count = 0
                let size = try systemCall("recvmsg", on: "corral-spawn") {
                    answer.withUnsafeMutableBytes { corral_receive_message(socket, $0.baseAddress, $0.count, &raw, 4, &count) }
                }
                guard size > 0 else { throw KernelError(call: "recvmsg", subject: "corral-spawn", errno: EPIPE) }
                return (Array(answer.prefix(size)), Array(raw.prefix(count)))
            }
        }
        return try Self.decode(reply, raw, tag: number)
    }

    private static func decode(_ reply: [UInt8], _ raw: [Int32], tag: UInt64) throws(KernelError) -> SpawnedSandbox {
        func load<Value: BitwiseCopyable>(_ offset: Int, as type: Value.Type) -> Value {
            reply.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
        }
        guard reply.count == MemoryLayout<corral_spawn_reply>.size,
            load(2, as: UInt16.self) == UInt16(CORRAL_SPAWN_REPLY.rawValue), load(8, as: UInt64.self) == tag
        else {
            for descriptor in raw { _ = close(descriptor) }
            throw KernelError(call: "recvmsg", subject: "corral-spawn", errno: EBADMSG)
        }
        let error = load(16, as: Int32.self)
        guard error == 0, raw.count == 4 else {
            for descriptor in raw { _ = close(descriptor) }
            throw KernelError(call: "spawn", subject: stageName(load(20, as: UInt32.self)), errno: error)
        }
        return SpawnedSandbox(
            pid: load(24, as: Int32.self), process: SharedDescriptor(FileDescriptor(owning: raw[0])),
            control: SharedDescriptor(FileDescriptor(owning: raw[1])), netlink: FileDescriptor(owning: raw[2]),
            netns: FileDescriptor(owning: raw[3])
        )
    }

    static func encode(_ request: SpawnRequest, tag: UInt64) throws(KernelError) -> [UInt8] {
        func field(_ text: String, _ size: UInt32) throws(KernelError) -> [UInt8] {
            let bytes = Array(text.utf8)
            guard bytes.count < Int(size), !bytes.contains(0) else {
                throw KernelError(call: "spawn", subject: text, errno: ENAMETOOLONG)
            }
            return bytes + [UInt8](repeating: 0, count: Int(size) - bytes.count)
        }
        guard request.mounts.count <= Int(CORRAL_SPAWN_MOUNTS) else {
            throw KernelError(call: "spawn", subject: "mounts", errno: E2BIG)
        }
        let size = MemoryLayout<corral_spawn_request>.size
        var bytes = InitChannel.header(CORRAL_SPAWN_REQUEST, size: size, tag: tag)
        bytes.appendWord(request.uidBase)
        bytes.appendWord(request.uidCount)
        bytes.appendLong(request.upperBytes)
        bytes.appendLong(request.upperInodes)
        bytes.appendWord(0)
        bytes.appendWord(UInt32(request.mounts.count))
        bytes += try field(request.hostname, CORRAL_HOSTNAME_BYTES)
        bytes += try field(request.image, CORRAL_PATH_BYTES)
        for mount in request.mounts {
            bytes += try field(mount.source, CORRAL_PATH_BYTES)
            bytes += try field(mount.target, CORRAL_PATH_BYTES)
            bytes.appendWord(mount.readOnly ? CORRAL_MOUNT_READ_ONLY.rawValue : 0)
            bytes.appendWord(0)
        }
        return bytes + [UInt8](repeating: 0, count: size - bytes.count)
    }
}
