internal import CFiles
internal import Glibc

/// Reads a tree of files into entries, sorted by name, directories before what is in them. Links are never followed, and the
/// tree may change meanwhile or be hostile: nothing is opened that could make it wait.
public struct TreePacker {
    public enum Owner: Sendable, Equatable {
        case kept
        /// Counted from here, at most so many; what lies outside belongs to nobody (65534).
        case from(UInt32, count: UInt32)
        /// Everything is root's.
        case root
    }

    public struct Options: Sendable {
        public var owner: Owner
        /// Turns overlayfs' whiteouts and opaque directories into the names that an OCI layer has.
        public var isLayer: Bool
        public var depth = 256

        public init(owner: Owner = .kept, isLayer: Bool = false) {
            self.owner = owner
            self.isLayer = isLayer
        }
    }

    private struct FileIdentity: Hashable {
        var device: UInt64
        var inode: UInt64
    }

    private let sink: any TreeSink
    private let options: Options
    /// First name of each file that has several.
    private var links: [FileIdentity: ArchivePath] = [:]
    /// Sockets and devices, and directories of the kernel's own file systems.
    public private(set) var skipped = 0
    private var piece = [UInt8](repeating: 0, count: 256 << 10)

    public init(into sink: any TreeSink, _ options: Options = Options()) {
        self.sink = sink
        self.options = options
    }

    /// The directory itself and all below, as `path`.
    public mutating func pack(_ directory: Handle, as path: ArchivePath) throws {
        try pack(directory, try directory.status(at: path), path)
    }

    /// What `name` is in its directory, as `path`; a link as a link. Throws for a name that is not there.
    public mutating func pack(_ name: FileName, in directory: Handle, as path: ArchivePath) throws {
        guard let status = try directory.status(name, at: path) else {
            throw ArchiveError(.system(ENOENT), entry: path.description, "is not there")
        }
        try pack(name, status, in: directory, path)
    }

    private mutating func pack(_ directory: Handle, _ status: stat, _ path: ArchivePath) throws {
        guard path.names.count <= options.depth else {
            throw ArchiveError(.limit, entry: path.description, "is deeper than \(options.depth) directories")
        }
        // Files of these are made by being read, some without end.
        guard !Self.isKernelFileSystem(directory) else {
            skipped += 1
            return
        }
        var entry = try self.entry(.directory, status, path)
        let attributes = try self.attributes(of: directory, path)
        entry.attributes = attributes.kept
        try put(entry)
        if options.isLayer, attributes.isOpaque {
            try put(TreeEntry(path: path.appending(OverlayMarks.opaqueName), kind: .file, mode: 0))
        }
        for name in try directory.names(at: path) {
            guard let status = try directory.status(name, at: path) else { continue }
            try pack(name, status, in: directory, path.appending(name))
        }
    }

    private mutating func pack(_ name: FileName, _ status: stat, in directory: Handle, _ path: ArchivePath) throws {
        // In a layer's archive such a name would say that something is gone.
        if options.isLayer, name.hasPrefix(OverlayMarks.prefix) {
            skipped += 1
            return
        }
        let identity = FileIdentity(device: UInt64(status.st_dev), inode: UInt64(status.st_ino))
        if !status.isDirectory, status.st_nlink > 1, status.type != S_IFCHR {
            if let first = links[identity] {
                var entry = try self.entry(.hardLink, status, path)
                entry.linkTarget = first.bytes
                return try put(entry)
            }
            links[identity] = path
        }
        switch status.type {
        case S_IFDIR:
            guard let below = try directory.directory(name, at: path) else { return }
            try pack(below, try below.status(at: path), path)
        case S_IFREG: try packFile(name, in: directory, path)
        case S_IFLNK:
            var entry = try self.entry(.symbolicLink, status, path)
            var target = [CChar](repeating: 0, count: 4096)
            let count = readlinkat(directory.descriptor, name.cString, &target, target.count)
            guard count > 0 else { throw ArchiveError.system("readlink", path) }
            entry.linkTarget = target[..<count].map { UInt8(bitPattern: $0) }
            try put(entry)
        case S_IFIFO: try put(try self.entry(.fifo, status, path))
        case S_IFCHR where options.isLayer && status.st_rdev == 0:
            let mark = path.parent.appending(FileName(Array(OverlayMarks.prefix.utf8) + name.bytes))
            try put(TreeEntry(path: mark, kind: .file, mode: 0))
        default: skipped += 1
        }
    }

    private mutating func packFile(_ name: FileName, in directory: Handle, _ path: ArchivePath) throws {
        // It may have become a pipe meanwhile.
        let descriptor = openat(
            directory.descriptor, name.cString, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
        guard descriptor >= 0 else { throw ArchiveError.system("open", path) }
        try packFile(Handle(owning: descriptor), as: path)
    }

    /// An open regular file; anything else is refused.
    public mutating func packFile(_ file: Handle, as path: ArchivePath) throws {
        let status = try file.status(at: path)
        guard status.type == S_IFREG else {
            throw ArchiveError(.refused, entry: path.description, "is no regular file")
        }
        guard !Self.isKernelFileSystem(file) else {
            throw ArchiveError(.refused, entry: path.description, "is of a file system of the kernel's own")
        }
        var entry = try self.entry(.file, status, path)
        entry.size = UInt64(max(0, status.st_size))
        entry.attributes = try attributes(of: file, path).kept
        entry.segments = Self.segments(of: file, status)
        try sink.begin(entry)
        for segment in entry.segments ?? [.init(offset: 0, count: entry.size)] {
            try copy(segment, of: file, path)
        }
        try sink.end()
    }

    private mutating func copy(_ segment: TreeEntry.Segment, of file: Handle, _ path: ArchivePath) throws {
        var done: UInt64 = 0
        while done < segment.count {
            let wanted = min(piece.count, Int(clamping: segment.count - done))
            let count = piece.withUnsafeMutableBytes {
                pread(file.descriptor, $0.baseAddress, wanted, off_t(segment.offset + done))
            }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw ArchiveError.system("read", path) }
            // It has become shorter than its header says: the rest is zeros.
            let given = count == 0 ? wanted : count
            if count == 0 { for index in 0..<wanted { piece[index] = 0 } }
            try piece.withUnsafeBytes { try sink.write(UnsafeRawBufferPointer(rebasing: $0[..<given])) }
            done += UInt64(given)
        }
    }

    private func put(_ entry: TreeEntry) throws {
        try sink.begin(entry)
        try sink.end()
    }

    private func entry(_ kind: TreeEntry.Kind, _ status: stat, _ path: ArchivePath) throws(ArchiveError) -> TreeEntry {
        TreeEntry(
            path: path, kind: kind, mode: UInt32(status.st_mode & 0o7777), uid: owner(status.st_uid),
            gid: owner(status.st_gid),
            modified: .init(seconds: Int64(status.st_mtim.tv_sec), nanoseconds: Int64(status.st_mtim.tv_nsec)))
    }

    private func owner(_ id: UInt32) -> UInt32 {
        switch options.owner {
        case .kept: id
        case .from(let base, let count): id >= base && id - base < count ? id - base : 65_534
        case .root: 0
        }
    }

    // MARK: what a file has

    private func attributes(
        of file: Handle, _ path: ArchivePath
    ) throws(ArchiveError) -> (kept: [TreeEntry.Attribute], isOpaque: Bool) {
        var list = [CChar](repeating: 0, count: 64 << 10)
        let length = flistxattr(file.descriptor, &list, list.count)
        guard length >= 0 else {
            if errno == EOPNOTSUPP || errno == ENOSYS { return ([], false) }
            throw ArchiveError.system("listxattr", path)
        }
        var kept: [TreeEntry.Attribute] = []
        var isOpaque = false
        for name in list[..<length].split(separator: 0) {
            let text = String(decoding: name.map { UInt8(bitPattern: $0) }, as: UTF8.self)
            guard text.hasPrefix("user.") else { continue }
            var value = [UInt8](repeating: 0, count: 64 << 10)
            let count = fgetxattr(file.descriptor, text, &value, value.count)
            // Gone meanwhile.
            guard count >= 0 else { continue }
            if text == OverlayMarks.opaqueAttribute { isOpaque = value[..<count].elementsEqual("y".utf8) }
            if !text.hasPrefix(OverlayMarks.attributePrefix) {
                kept.append(.init(name: text, value: Array(value[..<count])))
            }
        }
        return (kept.sorted { $0.name < $1.name }, isOpaque)
    }

    /// Nil for a file without holes, and for one of too many pieces.
    private static func segments(of file: Handle, _ status: stat) -> [TreeEntry.Segment]? {
        guard status.st_blocks * 512 < status.st_size else { return nil }
        var segments: [TreeEntry.Segment] = []
        var position: off_t = 0
        while position < status.st_size {
            let start = lseek(file.descriptor, position, seekData)
            if start < 0 {
                if errno == ENXIO { break }
                return nil
            }
            let end = lseek(file.descriptor, start, seekHole)
            guard start < status.st_size, end > start, segments.count < 16_384 else { return nil }
            segments.append(.init(offset: UInt64(start), count: UInt64(min(end, status.st_size) - start)))
            position = end
        }
        return segments
    }

    /// lseek(2): SEEK_DATA, SEEK_HOLE.
    private static let seekData: Int32 = 3
    private static let seekHole: Int32 = 4

    /// proc, sysfs, cgroup, devpts, debugfs, tracefs, securityfs, bpf (statfs(2)).
    private static let kernelFileSystems: Set<UInt32> = [
        0x9fa0, 0x6265_6572, 0x0027_e0eb, 0x6367_7270, 0x1cd1, 0x6462_6720, 0x7472_6163, 0x7363_6673, 0xcafe_4a11,
    ]

    public static func isKernelFileSystem(_ file: Handle) -> Bool {
        var information = statfs()
        guard fstatfs(file.descriptor, &information) == 0 else { return true }
        return kernelFileSystems.contains(UInt32(truncatingIfNeeded: information.f_type))
    }
}
