internal import CorralArchive
internal import CorralKernel
internal import FoundationEssentials
internal import Glibc
internal import Synchronization

/// What is kept about a snapshot beside its files.
struct SnapshotManifest: Codable, Sendable, Equatable {
    static let version = 1

    var version = Self.version
    var name: String
    var image: String
    /// Of the image's content; empty for the host's.
    var imageDigest: String
    /// The snapshot that the sandbox was started from.
    var parent: String?
    /// Layers of its own, the lowest first: one, or those of a chain that was imported.
    var layers: Int
    /// Nanoseconds since 1970, UTC.
    var createdAt: Int64
    /// Bytes of content.
    var size: UInt64
    var entries: Int
    /// Sockets and devices that were left out.
    var skipped: Int
}

public struct SnapshotInfo: Sendable, Equatable {
    public var name: String
    public var image: String
    /// Empty for the host's image.
    public var imageDigest: String
    public var parent: String?
    public var layers: Int
    /// Nanoseconds since 1970, UTC.
    public var createdAt: Int64
    /// Bytes of content.
    public var size: UInt64
    public var entries: Int
    public var skipped: Int

    public init(
        name: String, image: String, imageDigest: String, parent: String? = nil, layers: Int = 1, createdAt: Int64,
        size: UInt64, entries: Int, skipped: Int = 0
    ) {
        self.name = name
        self.image = image
        self.imageDigest = imageDigest
        self.parent = parent
        self.layers = layers
        self.createdAt = createdAt
        self.size = size
        self.entries = entries
        self.skipped = skipped
    }

    init(_ manifest: SnapshotManifest) {
        self.init(
            name: manifest.name, image: manifest.image, imageDigest: manifest.imageDigest, parent: manifest.parent,
            layers: manifest.layers, createdAt: manifest.createdAt, size: manifest.size, entries: manifest.entries,
            skipped: manifest.skipped)
    }
}

/// The snapshots of an instance on its disk, each in a directory of its own that exists whole or not at all. Every call blocks.
final class SnapshotStore: Sendable {
    private let directory: String
    private let changes = Mutex(())
    static let unfinished = ".unfinished-"

    /// Removes what an earlier daemon did not finish.
    init(directory: String) throws {
        self.directory = directory
        try Files.makeDirectories(directory)
        // Set-user-id programs in it must not be within reach of the host's users.
        if chmod(directory, 0o700) != 0 { throw FileError(call: "chmod", path: directory, errno: errno) }
        for name in try Files.names(in: directory) where name.hasPrefix(Self.unfinished) {
            try TreeRemoval.remove(name, in: directory)
        }
    }

    private func all() throws -> [(id: String, manifest: SnapshotManifest)] {
        try Files.names(in: directory).filter { !$0.hasPrefix(".") }.map { id in
            let path = "\(directory)/\(id)/manifest.json"
            do {
                return (id, try JSONDecoder().decode(SnapshotManifest.self, from: Data(Files.content(path))))
            } catch {
                throw EngineError(.internal, "\(path) cannot be read", detail: ["\(error)"])
            }
        }
    }

    /// By name.
    func list() throws -> [SnapshotInfo] {
        try all().map { SnapshotInfo($0.manifest) }.sorted { $0.name < $1.name }
    }

    func find(_ name: String) throws -> SnapshotInfo? {
        try list().first { $0.name == name }
    }

    /// The snapshot and those it stands on. Empty where there is none of this name.
    func chain(of name: String) throws -> [SnapshotInfo] {
        let all = try list()
        var chain: [SnapshotInfo] = []
        var next: String? = name
        while let name = next, chain.count <= all.count {
            guard let info = all.first(where: { $0.name == name }) else {
                if chain.isEmpty { return [] }
                throw EngineError(.internal, "the snapshot \(name), on which others stand, is missing")
            }
            chain.append(info)
            next = info.parent
        }
        return chain
    }

    /// Directories of a chain's layers, the topmost first.
    func layers(of chain: [SnapshotInfo]) throws -> [String] {
        guard !chain.isEmpty else { return [] }
        let all = try all()
        return try chain.flatMap { info in
            guard let id = all.first(where: { $0.manifest.name == info.name })?.id else {
                throw EngineError(.notFound, "no snapshot \(info.name)")
            }
            return (0..<info.layers).reversed().map { "\(directory)/\(id)/layers/\($0)" }
        }
    }

    /// Makes a snapshot out of what `build` puts into the directory it is given, or leaves nothing.
    func make(
        _ manifest: SnapshotManifest, _ build: (String) throws -> SnapshotManifest
    ) throws -> SnapshotInfo {
        try demandFree(manifest.name)
        let id = Self.randomID()
        let work = Self.unfinished + id
        let path = "\(directory)/\(work)"
        try Files.makeDirectory(path, mode: 0o700)
        do {
            try Files.makeDirectory("\(path)/layers", mode: 0o700)
            let done = try build("\(path)/layers")
            crashPoint("snapshot.copied")
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            try Files.write("\(path)/manifest.json", Array(try encoder.encode(done)), mode: 0o600)
            crashPoint("snapshot.described")
            try sync(path)
            try changes.withLock { _ in
                try demandFree(done.name)
                try Files.rename(path, to: "\(directory)/\(id)")
                crashPoint("snapshot.renamed")
                try sync(directory)
            }
            return SnapshotInfo(done)
        } catch {
            try? TreeRemoval.remove(work, in: directory)
            throw error
        }
    }

    private func demandFree(_ name: String) throws {
        guard try find(name) == nil else {
            throw EngineError(.conflict, "there is a snapshot \(name) already", detail: ["remove it first"])
        }
    }

    /// `conflict` for one on which another stands.
    func remove(_ name: String) throws {
        try changes.withLock { _ in
            let all = try all()
            guard let (id, _) = all.first(where: { $0.manifest.name == name }) else {
                throw EngineError(.notFound, "no snapshot \(name)")
            }
            if let child = all.first(where: { $0.manifest.parent == name }) {
                throw EngineError(.conflict, "the snapshot \(child.manifest.name) stands on \(name)")
            }
            try Files.rename("\(directory)/\(id)", to: "\(directory)/\(Self.unfinished)\(id)")
            crashPoint("snapshot.doomed")
            try sync(directory)
            try TreeRemoval.remove(Self.unfinished + id, in: directory)
        }
    }

    private static func randomID() -> String { String(UInt64.random(in: 0...UInt64.max), radix: 36) }

    private func sync(_ path: String) throws {
        let directory = try Handle(directory: path)
        try Disk.sync(directory.descriptor)
    }
}
