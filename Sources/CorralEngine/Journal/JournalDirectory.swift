internal import CorralEvents
internal import Glibc

/// The files of a journal: `audit-<number of its first record, 20 digits>.jsonl`.
struct JournalDirectory: Sendable, Equatable {
    struct File: Sendable, Equatable {
        var name: String
        /// Number of its first record.
        var first: UInt64
        var bytes: UInt64
        /// When it was last written, nanoseconds since 1970.
        var modified: Int64
    }

    let path: String

    private static let prefix = "audit-"
    static let tornPrefix = "torn-"
    private static let suffix = ".jsonl"

    static func name(first: UInt64, prefix: String = prefix) -> String {
        let digits = String(first)
        return prefix + String(repeating: "0", count: 20 - digits.count) + digits + suffix
    }

    func path(of name: String) -> String { "\(path)/\(name)" }

    private static func first(of name: String) -> UInt64? {
        guard name.hasPrefix(prefix), name.hasSuffix(suffix) else { return nil }
        let digits = name.dropFirst(prefix.count).dropLast(suffix.count)
        guard digits.utf8.count == 20, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return UInt64(digits)
    }

    /// With its parents; only its owner may enter it.
    func make() throws(FileError) {
        guard try Files.status(path) == nil else { return }
        if let slash = path.lastIndex(of: "/"), slash != path.startIndex {
            try Files.makeDirectories(String(path[..<slash]))
        }
        try Files.makeDirectory(path, mode: 0o700)
    }

    /// Oldest first.
    func files() throws(FileError) -> [File] {
        var files: [File] = []
        for name in try Files.names(in: path) {
            guard let first = Self.first(of: name) else { continue }
            var status = stat()
            guard lstat(path(of: name), &status) == 0 else {
                if errno == ENOENT { continue }
                throw FileError(call: "lstat", path: path(of: name), errno: errno)
            }
            guard status.st_mode & S_IFMT == S_IFREG else { continue }
            files.append(
                File(
                    name: name, first: first, bytes: UInt64(clamping: status.st_size),
                    modified: Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)))
        }
        return files.sorted { $0.first < $1.first }
    }

    /// Removes what recovery set aside, where it was last written before `time`.
    func removeSetAside(before time: Int64) throws(FileError) {
        for name in try Files.names(in: path) where name.hasPrefix(Self.tornPrefix) {
            var status = stat()
            guard lstat(path(of: name), &status) == 0 else { continue }
            if Int64(status.st_mtim.tv_sec) < time / 1_000_000_000 { try remove(name) }
        }
    }

    func remove(_ name: String) throws(FileError) {
        if unlink(path(of: name)) != 0, errno != ENOENT {
            throw FileError(call: "unlink", path: path(of: name), errno: errno)
        }
    }

    /// New names and removals reach the disk.
    func sync() throws(FileError) {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileError(call: "open", path: path, errno: errno) }
        defer { close(descriptor) }
        if fsync(descriptor) != 0 { throw FileError(call: "fsync", path: path, errno: errno) }
    }
}

/// An open file of a journal, closed with its owner.
struct JournalFile: ~Copyable {
    let path: String
    private let descriptor: Int32

    enum Mode {
        case read
        case write
        case create
    }

    init(_ path: String, _ mode: Mode) throws(FileError) {
        let flags =
            switch mode {
            case .read: O_RDONLY
            case .write: O_RDWR
            case .create: O_RDWR | O_CREAT | O_EXCL
            }
        self.path = path
        descriptor = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0o600)
        if descriptor < 0 { throw FileError(call: "open", path: path, errno: errno) }
    }

    deinit {
        close(descriptor)
    }

    private func failure(_ call: String) -> FileError { FileError(call: call, path: path, errno: errno) }

    /// Its size, and whether it still has a name.
    func status() throws(FileError) -> (bytes: UInt64, isNamed: Bool) {
        var status = stat()
        if fstat(descriptor, &status) != 0 { throw failure("fstat") }
        return (UInt64(clamping: status.st_size), status.st_nlink > 0)
    }

    /// At most `count` bytes from `offset` on; fewer at the end alone.
    func read(_ count: Int, at offset: UInt64) throws(FileError) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: count)
        var length = 0
        while length < count {
            let result = bytes.withUnsafeMutableBytes { buffer in
                pread(descriptor, buffer.baseAddress.map { $0 + length }, count - length, off_t(offset) + length)
            }
            if result < 0 {
                if errno == EINTR { continue }
                throw failure("read")
            }
            if result == 0 { break }
            length += result
        }
        bytes.removeSubrange(length...)
        return bytes
    }

    /// All of `bytes`; what a failure leaves there is to be cut off.
    func write(_ bytes: [UInt8], at offset: UInt64) throws(FileError) {
        var written = 0
        while written < bytes.count {
            let result = bytes.withUnsafeBytes { buffer in
                pwrite(
                    descriptor, buffer.baseAddress.map { $0 + written }, bytes.count - written, off_t(offset) + written)
            }
            if result < 0 {
                if errno == EINTR { continue }
                throw failure("write")
            }
            written += result
        }
    }

    func truncate(to bytes: UInt64) throws(FileError) {
        if ftruncate(descriptor, off_t(bytes)) != 0 { throw failure("ftruncate") }
    }

    func sync() throws(FileError) {
        if fdatasync(descriptor) != 0 { throw failure("fdatasync") }
    }
}
