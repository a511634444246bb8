internal import CorralArchive
internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import FoundationEssentials
internal import Glibc
internal import Synchronization

/// The images of an instance on its disk. Every call blocks.
///
/// `content/DIGEST` holds an image's files and manifest, once however many names it has; `names/NAME` says which one is meant.
/// Either exists whole or not at all: made under another name, written to the disk, then renamed.
final class ImageStore: Sendable {
    private let directory: String
    private let nameserver: String
    /// Changes one at a time; an import holds it only at its end.
    private let changes = Mutex(())

    private var contents: String { "\(directory)/content" }
    private var tags: String { "\(directory)/names" }
    static let unfinished = ".unfinished-"

    /// Removes what an earlier daemon did not finish, and content that has no name.
    init(directory: String, nameserver: String = "169.254.1.1") throws {
        self.directory = directory
        self.nameserver = nameserver
        try Files.makeDirectories(directory)
        // A set-user-id program of an image must not be within reach of the host's users.
        for path in [contents, tags] where try Files.status(path) == nil { try Files.makeDirectory(path, mode: 0o700) }
        for name in try Files.names(in: contents) where name.hasPrefix(Self.unfinished) {
            try TreeRemoval.remove(name, in: contents)
        }
        for name in try Files.names(in: tags) where name.hasPrefix(Self.unfinished) {
            try Files.removeTree("\(tags)/\(name)")
        }
        let named = Set(try list().compactMap { Digest($0.digest)?.hexadecimal })
        for name in try Files.names(in: contents) where !named.contains(name) {
            try TreeRemoval.remove(name, in: contents)
        }
    }

    // MARK: names

    /// Without slashes: a percent sign and two digits instead.
    private func tagFile(_ name: String) -> String {
        "\(tags)/\(name.replacing("%", with: "%25").replacing("/", with: "%2F"))"
    }

    private func tag(_ name: String) throws -> ImageTag? {
        let path = tagFile(name)
        guard try Files.status(path) != nil else { return nil }
        return try Self.decode(ImageTag.self, path)
    }

    private func manifest(_ digest: String) throws -> ImageManifest {
        guard let digest = Digest(digest) else { throw EngineError(.internal, "an image without a digest") }
        return try Self.decode(ImageManifest.self, "\(contents)/\(digest.hexadecimal)/manifest.json")
    }

    private static func decode<Value: Decodable>(_ type: Value.Type, _ path: String) throws -> Value {
        do {
            return try JSONDecoder().decode(type, from: Data(Files.content(path)))
        } catch {
            throw EngineError(.internal, "\(path) cannot be read", detail: ["\(error)"])
        }
    }

    /// By name. The host's image is not among them.
    func list() throws -> [ImageInfo] {
        try Files.names(in: tags).filter { !$0.hasPrefix(Self.unfinished) }.map { name in
            let tag = try Self.decode(ImageTag.self, "\(tags)/\(name)")
            return ImageInfo(tag, try manifest(tag.digest))
        }.sorted { $0.name < $1.name }
    }

    /// Nil where no image has this name.
    func find(_ name: String) throws -> ImageInfo? {
        guard ImageName.isValid(name), let tag = try tag(name) else { return nil }
        return ImageInfo(tag, try manifest(tag.digest))
    }

    func configuration(of digest: String) throws -> ImageManifest.Configuration? {
        guard let hash = Digest(digest), try Files.status("\(contents)/\(hash.hexadecimal)") != nil else { return nil }
        return try manifest(digest).configuration
    }

    /// Where its files are, with what a sandbox needs in any image above them.
    func layout(of digest: String) throws -> ImageLayout? {
        guard let digest = Digest(digest) else { return nil }
        let rootfs = "\(contents)/\(digest.hexadecimal)/\(ImageBuilder.rootfs)"
        guard try Files.status(rootfs) != nil else { return nil }
        return ImageLayout(
            rootfs: rootfs, layers: [try HostImage.prepareBase(at: "\(directory)/base", nameserver: nameserver)],
            mounts: [])
    }

    // MARK: changes

    /// Takes an image in whole, or throws and leaves nothing. The name then stands for it.
    func take(_ name: String, from source: any ByteSource, now: Int64) throws -> ImageInfo {
        let work = "\(Self.unfinished)\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        let path = "\(contents)/\(work)"
        try Files.makeDirectory(path, mode: 0o700)
        do {
            let manifest = try ImageBuilder(directory: path).build(from: source)
            crashPoint("image.unpacked")
            guard let digest = Digest(manifest.digest) else {
                throw EngineError(.internal, "an image without a digest")
            }
            try Files.write("\(path)/manifest.json", try Self.encode(manifest), mode: 0o600)
            crashPoint("image.described")
            try sync(path)
            let tag = ImageTag(name: name, digest: manifest.digest, importedAt: now)
            try changes.withLock { _ in
                let target = "\(contents)/\(digest.hexadecimal)"
                if try Files.status(target) == nil {
                    try Files.rename(path, to: target)
                    crashPoint("image.renamed")
                } else {
                    // The same image under another name.
                    try TreeRemoval.remove(work, in: contents)
                }
                try sync(contents)
                try write(tag)
                crashPoint("image.tagged")
            }
            return ImageInfo(tag, try self.manifest(manifest.digest))
        } catch {
            try? TreeRemoval.remove(work, in: contents)
            throw error
        }
    }

    private func write(_ tag: ImageTag) throws {
        let unfinished = "\(tags)/\(Self.unfinished)\(getpid())-\(UInt64.random(in: 0...UInt64.max))"
        try Files.write(unfinished, try Self.encode(tag), mode: 0o600)
        crashPoint("image.tag-written")
        try sync(unfinished)
        try Files.rename(unfinished, to: tagFile(tag.name))
        try sync(tags)
    }

    /// Takes the name away. Its content goes with its last name, unless `isInUse` says that somebody needs it; then it goes at
    /// the next start.
    func remove(_ name: String, isInUse: (String) -> Bool) throws {
        try changes.withLock { _ in
            guard let tag = try tag(name) else { throw EngineError(.notFound, "no image \(name)") }
            try Files.removeTree(tagFile(name))
            crashPoint("image.untagged")
            try sync(tags)
            guard let digest = Digest(tag.digest), !isInUse(tag.digest),
                try !list().contains(where: { $0.digest == tag.digest })
            else { return }
            // Under a name that the next start removes, should this be cut short.
            let doomed = "\(Self.unfinished)\(digest.hexadecimal)"
            try Files.rename("\(contents)/\(digest.hexadecimal)", to: "\(contents)/\(doomed)")
            crashPoint("image.doomed")
            try TreeRemoval.remove(doomed, in: contents)
        }
    }

    private static func encode(_ value: some Encodable) throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return Array(try encoder.encode(value)) + [UInt8(ascii: "\n")]
    }

    private func sync(_ path: String) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw FileError(call: "open", path: path, errno: errno) }
        defer { close(descriptor) }
        try Disk.sync(descriptor)
    }
}

/// Removes trees of any depth that an import allows, never through a link.
enum TreeRemoval {
    static func remove(_ name: String, in directory: String) throws {
        try Handle(directory: directory).remove(FileName(name))
    }
}
