internal import CorralArchive
internal import CorralKernel
internal import Glibc

/// How an archive meets what is at its destination.
public enum CopyMode: String, Sendable {
    /// Into a directory that is there.
    case into
    /// The archive has one top entry: it goes into the directory at the path, or becomes what the path names.
    case entry
    /// The archive's root becomes the directory at the path, which is made where it is missing.
    case contents
}

/// Files into and out of a sandbox. It may be paused, or hostile: nothing that runs in it takes part.
extension Engine {
    /// What is at `path`, as a tar archive whose top entry has its last name. `contents`: the directory itself is the root of
    /// the archive. A link at `path` is a link in the archive, unless `follow`.
    public func readFiles(
        _ reference: String, path: String, contents: Bool, follow: Bool
    ) async throws -> ByteOutlet {
        let sandbox = try find(reference)
        let files = try files(of: sandbox)
        let place = try Self.place(path)
        let owner = TreePacker.Owner.from(
            Provisioner.firstUID(of: sandbox.warm.identity.slot), count: Provisioner.uidCount)
        let outlet = ByteOutlet()
        let begun = AsyncStream<Result<Void, any Error>>.makeStream()
        Task {
            do {
                try await transfer {
                    let writer = TarWriter { try outlet.write($0) }
                    var packer = TreePacker(into: writer, .init(owner: owner))
                    if contents || place.name == nil {
                        let directory = Handle(owning: try files.open(path, O_RDONLY | O_DIRECTORY))
                        begun.continuation.yield(.success(()))
                        try packer.pack(directory, as: .root)
                    } else if let name = place.name {
                        try Self.pack(name, in: place.parent, path, of: files, follow, &packer) {
                            begun.continuation.yield(.success(()))
                        }
                    }
                    try writer.finish()
                }
                outlet.finish()
            } catch {
                begun.continuation.yield(.failure(error))
                outlet.finish(throwing: error)
            }
        }
        // A path that is not there is told before an answer has begun.
        var results = begun.stream.makeAsyncIterator()
        if case .failure(let error)? = await results.next() { throw error }
        return outlet
    }

    private static func pack(
        _ name: FileName, in parent: String, _ path: String, of files: SandboxFiles, _ follow: Bool,
        _ packer: inout TreePacker, _ begun: () -> Void
    ) throws {
        let target = ArchivePath(names: [name])
        if follow {
            // A pipe would make it wait, a device might do anything.
            let file = Handle(owning: try files.open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY))
            var status = stat()
            guard fstat(file.descriptor, &status) == 0, [S_IFREG, S_IFDIR].contains(status.st_mode & S_IFMT) else {
                throw EngineError(.invalidRequest, "\(path) is neither a file nor a directory")
            }
            guard !TreePacker.isKernelFileSystem(file) else {
                throw EngineError(.invalidRequest, "\(path) is of a file system of the kernel's own")
            }
            begun()
            if status.st_mode & S_IFMT == S_IFDIR {
                try packer.pack(file, as: target)
            } else {
                try packer.packFile(file, as: target)
            }
            return
        }
        let directory = Handle(owning: try files.open(parent, O_RDONLY | O_DIRECTORY))
        var status = stat()
        guard fstatat(directory.descriptor, name.cString, &status, AT_SYMLINK_NOFOLLOW) == 0 else {
            throw EngineError(.notFound, "there is no \(path) in the sandbox")
        }
        guard [S_IFREG, S_IFDIR, S_IFLNK].contains(status.st_mode & S_IFMT) else {
            throw EngineError(.invalidRequest, "\(path) is neither a file, a directory nor a link")
        }
        begun()
        try packer.pack(name, in: directory, as: target)
    }

    /// Unpacks an archive at `path`; what it makes belongs to whom the archive says, counted from the sandbox's root.
    /// Returns how many entries were written.
    public func writeFiles(
        _ reference: String, path: String, mode: CopyMode, from inlet: ByteInlet
    ) async throws -> Int {
        let sandbox: LiveSandbox
        let files: SandboxFiles
        let place: (parent: String, name: FileName?)
        do {
            sandbox = try find(reference)
            files = try self.files(of: sandbox)
            place = try Self.place(path)
        } catch {
            inlet.close()
            throw error
        }
        let root = Provisioner.firstUID(of: sandbox.warm.identity.slot)
        return try await transfer(closing: inlet) {
            try SandboxFiles.making(asRoot: root) {
                try Self.unpack(inlet.source, at: path, place, mode, root, files)
            }
        }
    }

    private static func unpack(
        _ source: any ByteSource, at path: String, _ place: (parent: String, name: FileName?), _ mode: CopyMode,
        _ root: UInt32, _ files: SandboxFiles
    ) throws -> Int {
        var options = TreeExtractor.Options(owner: .from(root), replacesDirectories: false)
        let reader = TarReader(try DecompressingSource(source))
        var top: FileName?
        let target: Handle
        do throws(KernelError) {
            target = Handle(owning: try files.open(path, O_RDONLY | O_DIRECTORY))
        } catch {
            guard mode != .into, error.errno == ENOENT || error.errno == ENOTDIR, let name = place.name else {
                throw error
            }
            let parent = Handle(owning: try files.open(place.parent, O_RDONLY | O_DIRECTORY))
            if mode == .entry {
                guard !path.hasSuffix("/") else { throw error }
                (top, target) = (name, parent)
            } else {
                guard mkdirat(parent.descriptor, name.cString, 0o755) == 0 else { throw error }
                options.setsRoot = true
                target = Handle(owning: try files.open(path, O_RDONLY | O_DIRECTORY))
            }
        }
        guard !TreePacker.isKernelFileSystem(target) else {
            throw EngineError(.invalidRequest, "\(path) is of a file system of the kernel's own")
        }
        let extractor = TreeExtractor(into: target, options)
        do {
            if let top {
                try reader.copy(to: RenamingSink(extractor, top: top))
            } else {
                try reader.copy(to: extractor)
            }
        } catch {
            extractor.abandon()
            throw error
        }
        try extractor.finish()
        return extractor.count
    }

    /// Nil for the root, and for a path that ends in `.` or `..`: there is no name to give.
    private static func place(_ path: String) throws -> (parent: String, name: FileName?) {
        guard path.hasPrefix("/"), path.utf8.count <= 4095, !path.utf8.contains(0) else {
            throw EngineError(.invalidRequest, "path: expected an absolute path inside the sandbox")
        }
        let names = path.split(separator: "/")
        guard let last = names.last, last != ".", last != ".." else { return (path, nil) }
        return ("/" + names.dropLast().joined(separator: "/"), FileName(String(last)))
    }
}
