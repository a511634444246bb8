internal import CFiles
internal import Glibc

/// Writes entries below a directory, and nowhere else: each name on the way to one is opened as a directory of its parent and
/// never followed as a link, whatever the archive put there before or another process puts there meanwhile.
public final class TreeExtractor: TreeSink {
    public enum Owner: Sendable, Equatable {
        /// As the entries say.
        case kept
        /// As the entries say, counted from here: a sandbox's root.
        case from(UInt32)
        /// Whoever runs this.
        case caller
    }

    public enum Whiteouts: Sendable {
        /// Names like any other.
        case ordinary
        /// Left out: somebody has dealt with them.
        case skipped
        /// Become overlayfs' own.
        case marked
    }

    public struct Options: Sendable {
        public var owner: Owner
        public var whiteouts: Whiteouts
        /// A file may take the place of a directory, and a directory that of a file.
        public var replacesDirectories: Bool
        /// Also to the directory that everything goes into, where the archive has an entry for it.
        public var setsRoot: Bool

        public init(
            owner: Owner, whiteouts: Whiteouts = .ordinary, replacesDirectories: Bool = true, setsRoot: Bool = false
        ) {
            self.owner = owner
            self.whiteouts = whiteouts
            self.replacesDirectories = replacesDirectories
            self.setsRoot = setsRoot
        }
    }

    /// What was left out.
    public struct Omissions: Sendable, Equatable, Codable {
        public var devices = 0
        /// `security.capability`.
        public var capabilities = 0
        /// Other extended attributes that are not the user's.
        public var attributes = 0

        public init() {}
    }

    private struct OpenedFile {
        var file: Handle
        var directory: Handle
        var entry: TreeEntry
        /// Segments not yet full, the first one first; and how much of that is written.
        var segments: ArraySlice<TreeEntry.Segment>
        var written: UInt64 = 0
    }

    private let root: Handle
    private let options: Options
    /// From the root to where the last entry went.
    private var stack: [(name: FileName, directory: Handle)] = []
    private var opened: OpenedFile?
    private var directoryTimes: [(ArchivePath, TreeEntry.Time)] = []
    public private(set) var omissions = Omissions()
    /// Bytes of content, and entries, that were written.
    public private(set) var bytes: UInt64 = 0
    public private(set) var count = 0

    public init(into root: Handle, _ options: Options) {
        self.root = root
        self.options = options
    }

    public func begin(_ entry: TreeEntry) throws {
        guard let name = entry.path.last else {
            guard entry.kind == .directory else {
                throw ArchiveError(.refused, entry: ".", "is the root, and no directory")
            }
            if options.setsRoot { try finish(directory: root, entry) }
            return
        }
        if try takeMark(entry) { return }
        count += 1
        switch entry.kind {
        case .directory: try makeDirectory(name, entry)
        case .file: try makeFile(name, entry)
        case .symbolicLink:
            let parent = try place(name, entry)
            guard symlinkat(FileName(entry.linkTarget).cString, parent.descriptor, name.cString) == 0 else {
                throw ArchiveError.system("symlink", entry.path)
            }
            try finish(parent, name, entry)
        case .hardLink: try makeHardLink(name, entry)
        case .fifo:
            let parent = try place(name, entry)
            guard mkfifoat(parent.descriptor, name.cString, mode_t(entry.mode & 0o777)) == 0 else {
                throw ArchiveError.system("mkfifo", entry.path)
            }
            try finish(parent, name, entry)
        case .characterDevice, .blockDevice:
            // A sandbox could not open it: its mounts are nodev.
            omissions.devices += 1
        }
    }

    public func write(_ data: UnsafeRawBufferPointer) throws {
        guard var target = opened else { return }
        var rest = data
        while !rest.isEmpty {
            guard let segment = target.segments.first else {
                throw ArchiveError(.malformed, entry: target.entry.path.description, "has more data than it says")
            }
            let count = min(rest.count, Int(clamping: segment.count - target.written))
            if count == 0 {
                target.segments = target.segments.dropFirst()
                target.written = 0
                continue
            }
            let done = pwrite(
                target.file.descriptor, rest.baseAddress, count, off_t(segment.offset + target.written))
            guard done > 0 else {
                if done < 0, errno == EINTR { continue }
                throw ArchiveError.system("write", target.entry.path)
            }
            target.written += UInt64(done)
            bytes += UInt64(done)
            rest = UnsafeRawBufferPointer(rebasing: rest[done...])
        }
        opened = target
    }

    public func end() throws {
        guard let done = opened else { return }
        opened = nil
        if done.entry.segments != nil, ftruncate(done.file.descriptor, off_t(done.entry.size)) != 0 {
            throw ArchiveError.system("truncate", done.entry.path)
        }
        try finish(done.file, done.entry)
    }

    /// Removes the file that was being written, if there is one: half of it is of no use, and holds room.
    public func abandon() {
        guard let half = opened else { return }
        opened = nil
        if let name = half.entry.path.last { unlinkat(half.directory.descriptor, name.cString, 0) }
    }

    /// After the last entry: directories get the times that their content has changed since.
    public func finish() throws {
        for (path, time) in directoryTimes.reversed() {
            guard let directory = try? existing(path) else { continue }
            try setTime(directory, time, path)
        }
        directoryTimes = []
        stack = []
    }

    // MARK: names

    /// The directory `path`; what is missing is made, mode 0755, and belongs to the archive's root.
    private func directory(_ path: ArchivePath, for entry: ArchivePath) throws -> Handle {
        var shared = 0
        while shared < min(stack.count, path.names.count), stack[shared].name == path.names[shared] { shared += 1 }
        stack.removeSubrange(shared...)
        for name in path.names[shared...] {
            let parent = stack.last?.directory ?? root
            var below = try parent.directory(name, at: entry)
            if below == nil {
                guard mkdirat(parent.descriptor, name.cString, 0o755) == 0 || errno == EEXIST else {
                    throw ArchiveError.system("mkdir", entry)
                }
                below = try parent.directory(name, at: entry)
                if let below {
                    try setOwner(below, uid: 0, gid: 0, entry)
                    guard fchmod(below.descriptor, 0o755) == 0 else { throw ArchiveError.system("chmod", entry) }
                }
            }
            guard let below else {
                throw ArchiveError(.refused, entry: entry.description, "is being replaced meanwhile")
            }
            stack.append((name, below))
        }
        return stack.last?.directory ?? root
    }

    /// Nil where something is missing. Makes nothing.
    private func existing(_ path: ArchivePath) throws -> Handle? {
        var directory = root
        for name in path.names {
            guard let below = try directory.directory(name, at: path) else { return nil }
            directory = below
        }
        return directory
    }

    /// The parent of a new entry, in which its name is free.
    private func place(_ name: FileName, _ entry: TreeEntry) throws -> Handle {
        let parent = try directory(entry.path.parent, for: entry.path)
        guard let there = try parent.status(name, at: entry.path) else { return parent }
        if there.isDirectory {
            guard options.replacesDirectories else {
                throw ArchiveError(.refused, entry: entry.path.description, "would take the place of a directory")
            }
            try parent.remove(name)
        } else if unlinkat(parent.descriptor, name.cString, 0) != 0 {
            throw ArchiveError.system("unlink", entry.path)
        }
        return parent
    }

    // MARK: kinds

    private func makeDirectory(_ name: FileName, _ entry: TreeEntry) throws {
        let parent = try directory(entry.path.parent, for: entry.path)
        if let there = try parent.status(name, at: entry.path), !there.isDirectory {
            guard options.replacesDirectories else {
                throw ArchiveError(
                    .refused, entry: entry.path.description, "is a directory, and something else is there already")
            }
            guard unlinkat(parent.descriptor, name.cString, 0) == 0 else {
                throw ArchiveError.system("unlink", entry.path)
            }
        }
        // Not for others before it has its owner and mode.
        guard mkdirat(parent.descriptor, name.cString, 0o700) == 0 || errno == EEXIST else {
            throw ArchiveError.system("mkdir", entry.path)
        }
        guard let made = try parent.directory(name, at: entry.path) else {
            throw ArchiveError.system("open", entry.path)
        }
        try finish(directory: made, entry)
    }

    private func finish(directory: Handle, _ entry: TreeEntry) throws {
        try setOwner(directory, uid: entry.uid, gid: entry.gid, entry.path)
        guard fchmod(directory.descriptor, mode_t(entry.mode)) == 0 else {
            throw ArchiveError.system("chmod", entry.path)
        }
        try setAttributes(directory, entry)
        directoryTimes.append((entry.path, entry.modified))
    }

    private func makeFile(_ name: FileName, _ entry: TreeEntry) throws {
        let parent = try place(name, entry)
        let descriptor = openat(
            parent.descriptor, name.cString, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw ArchiveError.system("open", entry.path) }
        let segments = entry.segments ?? [.init(offset: 0, count: entry.size)]
        opened = OpenedFile(
            file: Handle(owning: descriptor), directory: parent, entry: entry, segments: segments[...])
    }

    private func makeHardLink(_ name: FileName, _ entry: TreeEntry) throws {
        func refusal(_ what: String) -> ArchiveError {
            ArchiveError(.refused, entry: entry.path.description, "is a hard link to \(what)")
        }
        let target = try ArchivePath(entry.linkTarget)
        guard let targetName = target.last else { throw refusal("the root") }
        guard target != entry.path else { return }
        guard let source = try existing(target.parent), let there = try source.status(targetName, at: target) else {
            throw refusal("\"\(target)\", which is not there")
        }
        guard !there.isDirectory else { throw refusal("\"\(target)\", a directory") }
        let parent = try place(name, entry)
        guard linkat(source.descriptor, targetName.cString, parent.descriptor, name.cString, 0) == 0 else {
            throw ArchiveError.system("link", entry.path)
        }
    }

    /// True when the entry was a mark and has been dealt with.
    private func takeMark(_ entry: TreeEntry) throws -> Bool {
        if case .ordinary = options.whiteouts { return false }
        guard let mark = try OverlayMarks.mark(entry.path) else { return false }
        if case .skipped = options.whiteouts { return true }
        let parent = try directory(entry.path.parent, for: entry.path)
        switch mark {
        case .opaque:
            let value: [UInt8] = [UInt8(ascii: "y")]
            guard fsetxattr(parent.descriptor, OverlayMarks.opaqueAttribute, value, value.count, 0) == 0 else {
                throw ArchiveError.system("setxattr", entry.path)
            }
        case .hides(let name):
            guard mknodat(parent.descriptor, name.cString, S_IFCHR, 0) == 0 || errno == EEXIST else {
                throw ArchiveError.system("mknod", entry.path)
            }
        }
        return true
    }

    // MARK: what a file has beside its content

    private func finish(_ file: Handle, _ entry: TreeEntry) throws {
        try setOwner(file, uid: entry.uid, gid: entry.gid, entry.path)
        // After the owner, whose change takes set-user-id away.
        guard fchmod(file.descriptor, mode_t(entry.mode)) == 0 else { throw ArchiveError.system("chmod", entry.path) }
        try setAttributes(file, entry)
        try setTime(file, entry.modified, entry.path)
    }

    /// For what cannot be opened.
    private func finish(_ parent: Handle, _ name: FileName, _ entry: TreeEntry) throws {
        if let (uid, gid) = owner(entry.uid, entry.gid),
            fchownat(parent.descriptor, name.cString, uid, gid, AT_SYMLINK_NOFOLLOW) != 0
        {
            throw ArchiveError.system("chown", entry.path)
        }
        let times = Self.times(entry.modified)
        _ = utimensat(parent.descriptor, name.cString, times, AT_SYMLINK_NOFOLLOW)
    }

    private func owner(_ uid: UInt32, _ gid: UInt32) -> (uid_t, gid_t)? {
        switch options.owner {
        case .kept: (uid, gid)
        case .from(let base): (base &+ uid, base &+ gid)
        case .caller: nil
        }
    }

    private func setOwner(_ file: Handle, uid: UInt32, gid: UInt32, _ path: ArchivePath) throws(ArchiveError) {
        if let (uid, gid) = owner(uid, gid), fchown(file.descriptor, uid, gid) != 0 {
            throw ArchiveError.system("chown", path)
        }
    }

    private func setAttributes(_ file: Handle, _ entry: TreeEntry) throws(ArchiveError) {
        for attribute in entry.attributes {
            guard attribute.name.hasPrefix("user."), !attribute.name.hasPrefix(OverlayMarks.attributePrefix) else {
                if attribute.name == "security.capability" {
                    omissions.capabilities += 1
                } else {
                    omissions.attributes += 1
                }
                continue
            }
            if fsetxattr(file.descriptor, attribute.name, attribute.value, attribute.value.count, 0) != 0 {
                guard errno == EOPNOTSUPP else { throw ArchiveError.system("setxattr", entry.path) }
                omissions.attributes += 1
            }
        }
    }

    private func setTime(_ file: Handle, _ time: TreeEntry.Time, _ path: ArchivePath) throws(ArchiveError) {
        let times = Self.times(time)
        if futimens(file.descriptor, times) != 0 { throw ArchiveError.system("utimens", path) }
    }

    private static func times(_ time: TreeEntry.Time) -> [timespec] {
        let value = timespec(tv_sec: Int(time.seconds), tv_nsec: Int(time.nanoseconds))
        return [value, value]
    }
}
