internal import CLinux
internal import CorralControl
internal import Glibc

/// A sandbox's files from outside, without any help of what runs in it.
///
/// Whatever is there is the sandbox's to change, at any moment: paths are resolved by the kernel below the sandbox's own root,
/// and never through a magic link of /proc.
public final class SandboxFiles: Sendable {
    /// What the sandbox sees as `/`.
    private let root: FileDescriptor
    /// The tmpfs that takes all writes.
    private let store: FileDescriptor

    /// Throws ESRCH when the sandbox's corral-init has ended.
    /// - Parameter pid: of corral-init, on the host.
    public init(pid: Int32, channel: InitChannel) throws(KernelError) {
        let watch = FileDescriptor(
            owning: try systemCall("pidfd_open", on: "corral-init") { corral_pidfd_open(pid) })
        // The number was corral-init's when the other end of its socket was open after the pidfd was made…
        try Self.expectAlive(channel.descriptor.raw)
        root = try FileDescriptor.open("/proc/\(pid)/root", O_RDONLY | O_DIRECTORY)
        store = try FileDescriptor.open("/proc/\(pid)/fd/\(CORRAL_UPPER_FD)", O_RDONLY | O_DIRECTORY)
        // …and it still is, so that these were its own.
        var end = pollfd(fd: watch.raw, events: Int16(POLLIN), revents: 0)
        guard poll(&end, 1, 0) == 0 else { throw Self.ended }
    }

    private static let ended = KernelError(call: "open", subject: "the sandbox's files", errno: ESRCH)

    private static func expectAlive(_ socket: Int32) throws(KernelError) {
        var state = pollfd(fd: socket, events: 0, revents: 0)
        guard poll(&state, 1, 0) == 0 else { throw ended }
    }

    /// Opens what a process inside would get for `path`. The caller closes it.
    /// - Parameter flags: of open(2).
    public func open(_ path: String, _ flags: Int32) throws(KernelError) -> Int32 {
        let directory = root.raw
        return try Self.retrying("openat2", path) {
            corral_open_resolved(directory, path, flags, 0, CORRAL_RESOLVE_IN_ROOT)
        }
    }

    /// The directory in which everything lies that the sandbox has changed. The caller closes it.
    public func openUpper() throws(KernelError) -> Int32 {
        let directory = store.raw
        return try Self.retrying("openat2", "upper") {
            corral_open_resolved(directory, "upper", O_RDONLY | O_DIRECTORY, 0, CORRAL_RESOLVE_NO_LINKS)
        }
    }

    /// A sandbox that renames without pause makes a lookup fail with EAGAIN, not wait.
    private static func retrying(_ call: String, _ path: String, _ body: () -> Int32) throws(KernelError) -> Int32 {
        for _ in 0..<100 {
            let result = body()
            if result >= 0 { return result }
            if errno != EAGAIN { break }
        }
        throw KernelError(call: call, subject: path, errno: errno)
    }

    /// Runs `body` on this thread such that files it makes belong to the root of a sandbox. Nothing else may run on the thread.
    public static func making<Value>(asRoot uidBase: UInt32, _ body: () throws -> Value) throws -> Value {
        try systemCall("setfsuid", on: "\(uidBase)") { corral_make_files_as(uidBase, uidBase) }
        defer {
            // It cannot fail for root; a thread that kept the other owner would make files of the daemon's own unreadable.
            if corral_make_files_as(0, 0) < 0 { abort() }
        }
        return try body()
    }
}

/// Directories of the host that an operator names, opened without following any link.
public enum HostDirectory {
    /// An O_PATH descriptor. Throws ELOOP where any part of the path is a symbolic link.
    public static func open(_ path: String) throws(KernelError) -> SharedDescriptor {
        let descriptor = try systemCall("openat2", on: path) {
            corral_open_resolved(AT_FDCWD, path, Int32(CORRAL_OPEN_NAME), 0, CORRAL_RESOLVE_NO_LINKS)
        }
        return SharedDescriptor(FileDescriptor(owning: descriptor))
    }

    /// Owner of what is open.
    public struct Status: Sendable, Equatable {
        public var uid: UInt32
        public var gid: UInt32
        public var isDirectory: Bool
        public var isFile: Bool
        /// Its file system is mounted with nosuid.
        public var ignoresSetUserID: Bool
    }

    public static func status(_ descriptor: SharedDescriptor) throws(KernelError) -> Status {
        var status = stat()
        var system = statvfs()
        let raw = descriptor.raw
        try systemCall("fstat") { fstat(raw, &status) }
        try systemCall("fstatvfs") { fstatvfs(raw, &system) }
        return Status(
            uid: status.st_uid, gid: status.st_gid, isDirectory: status.st_mode & S_IFMT == S_IFDIR,
            isFile: status.st_mode & S_IFMT == S_IFREG, ignoresSetUserID: system.f_flag & UInt(ST_NOSUID) != 0)
    }
}

/// Small calls on the daemon's own directories.
public enum Disk {
    /// Everything written to the file system that `descriptor` is on is on its disk when this returns.
    public static func sync(_ descriptor: Int32) throws(KernelError) {
        try systemCall("syncfs") { corral_sync_file_system(descriptor) }
    }

    /// Opens below `directory`; a link that leads out of it is an error. The caller closes it.
    public static func open(_ path: String, beneath directory: Int32, _ flags: Int32) throws(KernelError) -> Int32 {
        try systemCall("openat2", on: path) {
            corral_open_resolved(directory, path, flags, 0, CORRAL_RESOLVE_BENEATH)
        }
    }
}
