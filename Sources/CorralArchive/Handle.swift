internal import Glibc

/// An open file or directory; closed with its last owner.
public final class Handle: Sendable {
    /// Valid while this object lives.
    public let descriptor: Int32

    /// Takes ownership.
    public init(owning descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    /// A directory that the caller trusts: links in its path are followed.
    public convenience init(directory path: String) throws(ArchiveError) {
        let descriptor = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard descriptor >= 0 else { throw ArchiveError.system("open", ArchivePath(names: [FileName(path)])) }
        self.init(owning: descriptor)
    }

    /// The directory `name` itself, never what a link of that name leads to. Nil where there is nothing.
    func directory(_ name: FileName, at path: ArchivePath) throws(ArchiveError) -> Handle? {
        let below = openat(descriptor, name.cString, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        if below >= 0 { return Handle(owning: below) }
        switch errno {
        case ENOENT: return nil
        case ENOTDIR, ELOOP:
            throw ArchiveError(.refused, entry: path.description, "leads through \"\(name)\", which is no directory")
        default: throw ArchiveError.system("open", path)
        }
    }

    /// Of the name itself; nil where there is nothing.
    func status(_ name: FileName, at path: ArchivePath) throws(ArchiveError) -> stat? {
        var status = stat()
        if fstatat(descriptor, name.cString, &status, AT_SYMLINK_NOFOLLOW) == 0 { return status }
        if errno == ENOENT { return nil }
        throw ArchiveError.system("stat", path)
    }

    func status(at path: ArchivePath) throws(ArchiveError) -> stat {
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw ArchiveError.system("stat", path) }
        return status
    }

    /// Sorted, without `.` and `..`.
    func names(at path: ArchivePath) throws(ArchiveError) -> [FileName] {
        // Of its own: reading moves the position.
        let copy = openat(descriptor, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard copy >= 0, let stream = fdopendir(copy) else {
            if copy >= 0 { close(copy) }
            throw ArchiveError.system("open", path)
        }
        defer { closedir(stream) }
        var names: [FileName] = []
        errno = 0
        while let entry = readdir(stream) {
            // In place: a record is as long as its name needs.
            guard let offset = MemoryLayout<dirent>.offset(of: \.d_name) else { break }
            let start = (UnsafeRawPointer(entry) + offset).assumingMemoryBound(to: UInt8.self)
            let name = UnsafeBufferPointer(start: start, count: strlen(UnsafePointer(OpaquePointer(start))))
            if !name.elementsEqual(".".utf8), !name.elementsEqual("..".utf8) { names.append(FileName(name)) }
            errno = 0
        }
        guard errno == 0 else { throw ArchiveError.system("readdir", path) }
        return names.sorted()
    }

    /// Removes what is there, directories with all below; links are not followed. Nothing there is no error.
    public func remove(_ name: FileName) throws(ArchiveError) {
        try remove(name, at: ArchivePath(names: [name]))
    }

    private func remove(_ name: FileName, at path: ArchivePath) throws(ArchiveError) {
        if unlinkat(descriptor, name.cString, 0) == 0 || errno == ENOENT { return }
        guard errno == EISDIR || errno == EPERM else { throw ArchiveError.system("unlink", path) }
        guard path.names.count <= Self.deepest else {
            throw ArchiveError(.limit, entry: path.description, "is too deep")
        }
        if let below = try directory(name, at: path) {
            for inner in try below.names(at: path) { try below.remove(inner, at: path.appending(inner)) }
        }
        if unlinkat(descriptor, name.cString, AT_REMOVEDIR) != 0, errno != ENOENT {
            throw ArchiveError.system("rmdir", path)
        }
    }

    /// Each level costs a descriptor.
    static let deepest = 300
}

extension stat {
    var type: mode_t { st_mode & S_IFMT }
    var isDirectory: Bool { type == S_IFDIR }
}
