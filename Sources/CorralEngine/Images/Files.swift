internal import CorralKernel
internal import Glibc

/// A call on a file that failed.
struct FileError: Error, Equatable, CustomStringConvertible {
    var call: String
    var path: String
    var errno: Int32

    var description: String { "\(call) \(path): \(String(cString: strerror(errno)))" }
}

/// The few file calls that images need, each failing with the path it failed on.
enum Files {
    struct Status: Equatable {
        enum Kind {
            case file
            case directory
            case link
            case other
        }

        var kind: Kind
        var isReadableByAll: Bool
    }

    /// Larger files are not copied into an image. Bytes.
    static let largestFile = 16 << 20

    /// Of the path itself, not of what a link leads to; nil when there is nothing.
    static func status(_ path: String) throws(FileError) -> Status? {
        var status = stat()
        guard lstat(path, &status) == 0 else {
            if errno == ENOENT || errno == ENOTDIR { return nil }
            throw failure("lstat", path)
        }
        let kind: Status.Kind =
            switch status.st_mode & S_IFMT {
            case S_IFREG: .file
            case S_IFDIR: .directory
            case S_IFLNK: .link
            default: .other
            }
        return Status(kind: kind, isReadableByAll: status.st_mode & S_IROTH != 0)
    }

    /// Without `.` and `..`, sorted.
    static func names(in directory: String) throws(FileError) -> [String] {
        guard let stream = opendir(directory) else { throw failure("opendir", directory) }
        defer { closedir(stream) }
        var names: [String] = []
        errno = 0
        while let entry = readdir(stream) {
            // In place: d_name is longer than its declared 256 bytes may hold, and shorter than its record.
            guard let offset = MemoryLayout<dirent>.offset(of: \.d_name) else { break }
            let name = String(cString: (UnsafeRawPointer(entry) + offset).assumingMemoryBound(to: CChar.self))
            if name != "." && name != ".." { names.append(name) }
            errno = 0
        }
        if errno != 0 { throw failure("readdir", directory) }
        return names.sorted()
    }

    static func linkTarget(_ path: String) throws(FileError) -> String {
        var target = [CChar](repeating: 0, count: Int(PATH_MAX))
        let length = readlink(path, &target, target.count)
        if length < 0 { throw failure("readlink", path) }
        return String(decoding: target[..<length].map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    /// Of a regular file of at most `largestFile` bytes.
    static func content(_ path: String) throws(FileError) -> [UInt8] {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        if file < 0 { throw failure("open", path) }
        defer { close(file) }
        var content: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let length = read(file, &block, block.count)
            if length < 0 {
                if errno == EINTR { continue }
                throw failure("read", path)
            }
            if length == 0 { return content }
            content += block[..<length]
            if content.count > largestFile { throw FileError(call: "read", path: path, errno: EFBIG) }
        }
    }

    /// Creates it; the mode is what it says, whatever the umask.
    static func makeDirectory(_ path: String, mode: UInt32) throws(FileError) {
        if mkdir(path, mode) != 0 { throw failure("mkdir", path) }
        if chmod(path, mode) != 0 { throw failure("chmod", path) }
    }

    /// With its parents, mode 0755; those that exist stay as they are.
    static func makeDirectories(_ path: String) throws(FileError) {
        var end = path.startIndex
        while end < path.endIndex {
            end = path[path.index(after: end)...].firstIndex(of: "/") ?? path.endIndex
            if mkdir(String(path[..<end]), 0o755) != 0, errno != EEXIST { throw failure("mkdir", String(path[..<end])) }
        }
    }

    static func makeLink(_ path: String, to target: String) throws(FileError) {
        if symlink(target, path) != 0 { throw failure("symlink", path) }
    }

    /// A new file with all of `content`.
    static func write(_ path: String, _ content: [UInt8], mode: UInt32) throws(FileError) {
        let file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode)
        if file < 0 { throw failure("open", path) }
        defer { close(file) }
        if fchmod(file, mode) != 0 { throw failure("fchmod", path) }
        var written = 0
        while written < content.count {
            let length = content.withUnsafeBytes {
                Glibc.write(file, $0.baseAddress.map { $0 + written }, $0.count - written)
            }
            if length < 0 {
                if errno == EINTR { continue }
                throw failure("write", path)
            }
            written += length
        }
    }

    /// Whoever opens the path finds the old content or the new one. Not synced to the disk.
    /// - Parameter prepare: runs once the new content is written, before it takes the old one's place.
    static func replace(
        _ path: String, with content: [UInt8], mode: UInt32, before prepare: () -> Void = {}
    ) throws(FileError) {
        let unfinished = path + ".new"
        if unlink(unfinished) != 0, errno != ENOENT { try removeTree(unfinished) }
        try write(unfinished, content, mode: mode)
        crashPoint("file.written")
        prepare()
        crashPoint("file.before-rename")
        try rename(unfinished, to: path)
        crashPoint("file.renamed")
    }

    static func rename(_ path: String, to target: String) throws(FileError) {
        if Glibc.rename(path, target) != 0 { throw failure("rename", path) }
    }

    /// Links are removed, not followed. Nothing there is no error.
    static func removeTree(_ path: String) throws(FileError) {
        guard let status = try status(path) else { return }
        if status.kind == .directory {
            for name in try names(in: path) { try removeTree("\(path)/\(name)") }
            if rmdir(path) != 0 { throw failure("rmdir", path) }
        } else if unlink(path) != 0 {
            throw failure("unlink", path)
        }
    }

    private static func failure(_ call: String, _ path: String) -> FileError {
        FileError(call: call, path: path, errno: errno)
    }
}
