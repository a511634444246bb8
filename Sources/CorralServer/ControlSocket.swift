internal import Glibc

/// The place of the API's socket: a directory that only root and the group `corral` enter, held by one daemon at a time.
///
/// Made before the engine, so that a daemon that is one too many leaves before it touches anything.
public final class ControlSocket: Sendable {
    public let path: String
    private let group: gid_t?
    /// Held as long as this daemon lives.
    private let lock: FileLock

    /// Makes the directory (mode 0750), takes the lock and removes a socket that nobody answers. `path`: absolute, at most
    /// 107 bytes. `group` may use the socket beside root; ignored when the host has no such group. Throws
    /// `ControlSocketError` or `SystemCallError`.
    public init(path: String, group groupName: String = "corral") throws {
        guard path.hasPrefix("/"), let slash = path.lastIndex(of: "/"), slash != path.startIndex,
            let address = UnixAddress(path)
        else {
            throw ControlSocketError("\(path): no place for a socket; expected an absolute path of at most 107 bytes")
        }
        self.path = path
        group = getgrnam(groupName)?.pointee.gr_gid
        let directory = String(path[..<slash])
        try Self.prepare(directory: directory, group: group)
        guard let lock = try FileLock(path: path + ".lock") else {
            throw ControlSocketError("another corrald runs in \(directory); give this one a --run-dir of its own")
        }
        self.lock = lock
        try Self.removeStale(path, address)
    }

    /// Lets root and the group in. Call once the socket is bound; the umask must have kept all others out until then.
    func admit() throws(SystemCallError) {
        if let group, chown(path, uid_t.max, group) != 0 { throw SystemCallError("chown", path) }
        guard chmod(path, 0o660) == 0 else { throw SystemCallError("chmod", path) }
    }

    func remove() {
        unlink(path)
    }

    private static func prepare(directory: String, group: gid_t?) throws {
        try makeDirectories(directory)
        guard let status = try FileStatus(path: directory), status.isDirectory else {
            throw ControlSocketError("\(directory): no directory")
        }
        guard status.owner == geteuid(), status.mode & 0o022 == 0 else {
            throw ControlSocketError("\(directory): must belong to this user and be writable by nobody else")
        }
        // A directory that everybody may enter is not ours to close: someone chose it. The socket's own mode still holds.
        if status.mode & 0o007 == 0, let group, status.group != group, chown(directory, uid_t.max, group) != 0 {
            throw SystemCallError("chown", directory)
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
        guard try !address.isAnswered(as: path) else {
            throw ControlSocketError("\(path): another daemon answers there")
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

/// Why the API's socket cannot be where it was wanted.
public struct ControlSocketError: Error, Sendable, CustomStringConvertible {
    public var description: String

    init(_ description: String) {
        self.description = description
    }
}
