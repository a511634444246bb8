internal import Glibc

/// Who may open the API's socket, and with that do everything.
public struct SocketAccess: Sendable, Equatable {
    public var owner: UInt32
    /// Nil: as the socket is made, this process's.
    public var group: UInt32?
    /// Permission bits, none of them for others.
    public var mode: UInt32

    /// Looks the names up. An empty `owner` means this process's user. An empty `group` means `corral` where the host has that
    /// group, and its owner alone otherwise; an empty `mode` 0660 or 0600, in the same way. Throws `ControlSocketError`.
    public init(owner: String = "", group: String = "", mode: UInt32? = nil) throws {
        if owner.isEmpty {
            self.owner = geteuid()
        } else {
            guard let entry = getpwnam(owner) else { throw ControlSocketError("socket-owner: no user \"\(owner)\"") }
            self.owner = entry.pointee.pw_uid
        }
        self.group = getgrnam(group.isEmpty ? "corral" : group)?.pointee.gr_gid
        if !group.isEmpty, self.group == nil { throw ControlSocketError("socket-group: no group \"\(group)\"") }
        self.mode = mode ?? (self.group == nil ? 0o600 : 0o660)
        if self.mode & 0o007 != 0 { throw ControlSocketError("socket-mode: everybody could do everything") }
    }
}

/// The place of the API's sockets: a directory that nobody else writes to, held by one daemon at a time.
///
/// Made before the engine, so that a daemon that is one too many leaves before it touches anything.
public final class ControlSocket: Sendable {
    /// Gives the right to everything.
    public let path: String
    /// Gives the right to read; nil unless a group was named for it.
    public let readersPath: String?
    private let access: SocketAccess
    private let readers: UInt32?
    /// Held as long as this daemon lives.
    private let lock: FileLock

    /// Makes the directory (mode 0750; 0751 where others than this user and the group have a socket in it), takes the lock and
    /// removes a socket that nobody answers. `path`: absolute, at most 102 bytes. `readers`: a group whose members may look;
    /// empty, there is no socket for them. Throws `ControlSocketError` or `SystemCallError`.
    public init(path: String, access: SocketAccess, readers group: String = "") throws {
        let readersPath = Self.readersPath(path)
        guard path.hasPrefix("/"), let slash = path.lastIndex(of: "/"), slash != path.startIndex,
            let address = UnixAddress(path), let readersAddress = UnixAddress(readersPath)
        else {
            throw ControlSocketError("\(path): no place for a socket; expected an absolute path of at most 102 bytes")
        }
        self.path = path
        self.readersPath = group.isEmpty ? nil : readersPath
        self.access = access
        readers = group.isEmpty ? nil : getgrnam(group)?.pointee.gr_gid
        if !group.isEmpty, readers == nil { throw ControlSocketError("socket-readers: no group \"\(group)\"") }
        let directory = String(path[..<slash])
        try Self.prepare(
            directory: directory, group: access.group, isEnteredByOthers: readers != nil || access.owner != geteuid())
        guard let lock = try FileLock(path: path + ".lock") else {
            throw ControlSocketError("another corrald runs in \(directory); give this one a --run-dir of its own")
        }
        self.lock = lock
        try Self.removeStale(path, address)
        try Self.removeStale(readersPath, readersAddress)
    }

    /// `corral.sock` becomes `corral-read.sock`.
    private static func readersPath(_ path: String) -> String {
        path.hasSuffix(".sock") ? path.dropLast(5) + "-read.sock" : path + "-read"
    }

    /// Lets in those who may. Call once both are bound; the umask must have kept all others out until then.
    func admit() throws(SystemCallError) {
        try Self.admit(path, access.owner, access.group, access.mode)
        if let readersPath, let readers { try Self.admit(readersPath, access.owner, readers, 0o660) }
    }

    private static func admit(
        _ path: String, _ owner: UInt32, _ group: UInt32?, _ mode: UInt32
    ) throws(SystemCallError) {
        guard lchown(path, owner, group ?? gid_t.max) == 0 else { throw SystemCallError("lchown", path) }
        guard chmod(path, mode) == 0 else { throw SystemCallError("chmod", path) }
    }

    func remove() {
        unlink(path)
        if let readersPath { unlink(readersPath) }
    }

    private static func prepare(directory: String, group: UInt32?, isEnteredByOthers: Bool) throws {
        try makeDirectories(directory)
        guard let status = try FileStatus(path: directory), status.isDirectory else {
            throw ControlSocketError("\(directory): no directory")
        }
        guard status.owner == geteuid(), status.mode & 0o022 == 0 else {
            throw ControlSocketError("\(directory): must belong to this user and be writable by nobody else")
        }
        try checkParents(of: directory)
        // A directory that everybody may enter is not ours to close: someone chose it. The sockets' own modes still hold.
        if status.mode & 0o007 == 0, let group, status.group != group, chown(directory, uid_t.max, group) != 0 {
            throw SystemCallError("chown", directory)
        }
        if isEnteredByOthers, status.mode & 0o001 == 0, chmod(directory, status.mode | 0o001) != 0 {
            throw SystemCallError("chmod", directory)
        }
    }

    /// Who may rename a directory above could put another one in its place.
    private static func checkParents(of directory: String) throws {
        var path = Path.resolved(directory)
        while let slash = path.lastIndex(of: "/"), path != "/" {
            path = slash == path.startIndex ? "/" : String(path[..<slash])
            guard let status = try FileStatus(path: path) else { continue }
            let isSticky = status.mode & 0o1000 != 0
            guard status.owner == 0 || status.owner == geteuid(), status.mode & 0o022 == 0 || isSticky else {
                throw ControlSocketError(
                    "\(path): others may write to it, and could put another directory in the place of \(directory)")
            }
        }
    }

    /// Missing parents get mode 0755, the last one 0750.
    private static func makeDirectories(_ path: String) throws {
        var current = ""
        let names = path.split(separator: "/")
        for (index, name) in names.enumerated() {
            current += "/" + name
            let isLast = index == names.count - 1
            if mkdir(current, isLast ? 0o750 : 0o755) == 0 {
                // The umask took bits away.
                guard chmod(current, isLast ? 0o750 : 0o755) == 0 else { throw SystemCallError("chmod", current) }
            } else if errno != EEXIST {
                throw SystemCallError("mkdir", current)
            }
        }
    }

    private static func removeStale(_ path: String, _ address: UnixAddress) throws {
        guard let status = try FileStatus(path: path) else { return }
        guard status.isSocket else { throw ControlSocketError("\(path): in the way, and no socket") }
        // The lock is ours. A daemon that was killed may have let go of it before its socket.
        var looks = 0
        while try address.isAnswered(as: path) {
            guard looks < 40 else { throw ControlSocketError("\(path): another daemon answers there") }
            looks += 1
            usleep(50_000)
        }
        guard unlink(path) == 0 else { throw SystemCallError("unlink", path) }
    }
}

/// An advisory lock on a file, held until this value goes.
struct FileLock: ~Copyable {
    private let descriptor: Int32

    /// Nil when another process holds it.
    init?(path: String) throws(SystemCallError) {
        let descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw SystemCallError("open", path) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let error = errno
            close(descriptor)
            if error == EWOULDBLOCK { return nil }
            throw SystemCallError("flock", path, errno: error)
        }
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }
}

/// Why the API cannot be served where it was wanted.
public struct ControlSocketError: Error, Sendable, CustomStringConvertible {
    public var description: String

    init(_ description: String) {
        self.description = description
    }
}
