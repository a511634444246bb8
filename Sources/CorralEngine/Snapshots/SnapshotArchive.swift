internal import CorralArchive
internal import CorralKernel
internal import FoundationEssentials
internal import Glibc

/// A snapshot as one file: a tar archive of `snapshot.json` and one OCI layer for each of its layers and of those it stands on.
struct SnapshotArchive {
    static let descriptionName = "snapshot.json"
    static let format = "corral.snapshot/v1"

    /// What `snapshot.json` holds.
    struct Description: Codable {
        struct Layer: Codable {
            var digest: String
            /// Bytes of the layer's archive.
            var size: UInt64
        }

        var format: String
        var name: String
        var image: String
        var imageDigest: String
        var createdAt: Int64
        /// The lowest first.
        var layers: [Layer]
    }

    private static func path(_ index: Int) -> ArchivePath {
        ArchivePath(names: [FileName("layers"), FileName("\(index).tar")])
    }

    // MARK: writing

    /// - Parameter layers: directories, the lowest first. Each is read twice: its digest comes before it.
    static func write(
        _ info: SnapshotInfo, layers: [String], to output: @escaping (UnsafeRawBufferPointer) throws -> Void
    ) throws {
        var description = Description(
            format: format, name: info.name, image: info.image, imageDigest: info.imageDigest,
            createdAt: info.createdAt,
            layers: [])
        for layer in layers {
            let counter = DigestCounter()
            try pack(layer) { counter.add($0) }
            description.layers.append(.init(digest: counter.digest.description, size: counter.count))
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
        let text = Array(try encoder.encode(description)) + [UInt8(ascii: "\n")]
        let archive = TarWriter(output: output)
        try archive.begin(
            TreeEntry(
                path: ArchivePath(names: [FileName(descriptionName)]), kind: .file, mode: 0o644,
                size: UInt64(text.count)))
        try text.withUnsafeBytes { try archive.write($0) }
        try archive.end()
        for (index, layer) in layers.enumerated() {
            try archive.begin(
                TreeEntry(path: path(index), kind: .file, mode: 0o644, size: description.layers[index].size))
            try pack(layer) { try archive.write($0) }
            try archive.end()
        }
        try archive.finish()
    }

    private static func pack(_ layer: String, _ output: @escaping (UnsafeRawBufferPointer) throws -> Void) throws {
        let writer = TarWriter(output: output)
        var packer = TreePacker(into: writer, .init(isLayer: true))
        try packer.pack(try Handle(directory: layer), as: .root)
        try writer.finish()
    }

    // MARK: reading

    private static let descriptionLimit: UInt64 = 1 << 20

    /// Puts the layers into numbered directories below `directory`, each digest checked.
    /// - Parameter admit: throws for a snapshot that cannot be taken here, before anything is unpacked.
    static func read(
        from source: any ByteSource, into directory: String, admit: (Description) throws -> Void
    ) throws -> (Description, size: UInt64, entries: Int) {
        let reader = TarReader(try DecompressingSource(source))
        guard let first = try reader.next(), first.path.names == [FileName(descriptionName)],
            first.size <= descriptionLimit
        else { throw ArchiveError(.malformed, "the archive is no snapshot: it does not begin with \(descriptionName)") }
        let text = try readAll(EntrySource(reader))
        guard let description = try? JSONDecoder().decode(Description.self, from: Data(text)),
            description.format == format
        else { throw ArchiveError(.malformed, entry: descriptionName, "is not of the format \(format)") }
        guard (1..<SpawnRequest.maximumLayers).contains(description.layers.count) else {
            throw ArchiveError(.limit, "the snapshot has \(description.layers.count) layers")
        }
        try admit(description)
        var size: UInt64 = 0
        var entries = 0
        for (index, layer) in description.layers.enumerated() {
            guard let entry = try reader.next(), entry.path == path(index), entry.kind == .file else {
                throw ArchiveError(.malformed, "the archive lacks \(path(index))")
            }
            let target = "\(directory)/\(index)"
            try Files.makeDirectory(target, mode: 0o755)
            let content = HashingSource(EntrySource(reader))
            let extractor = TreeExtractor(
                into: try Handle(directory: target), .init(owner: .kept, whiteouts: .marked, setsRoot: true))
            try TarReader(content).copy(to: extractor)
            try extractor.finish()
            try content.drain()
            guard content.digest.description == layer.digest else {
                throw ArchiveError(
                    .malformed, entry: path(index).description, "has another digest than \(descriptionName) says")
            }
            size += extractor.bytes
            entries += extractor.count
        }
        guard try reader.next() == nil else { throw ArchiveError(.malformed, "more follows the snapshot's layers") }
        return (description, size, entries)
    }

    private static func readAll(_ source: any ByteSource) throws -> [UInt8] {
        var bytes: [UInt8] = []
        var piece = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = try piece.withUnsafeMutableBytes { try source.read(into: $0) }
            if count == 0 { return bytes }
            bytes += piece[..<count]
        }
    }
}

/// The data of a tar reader's current entry.
private final class EntrySource: ByteSource {
    private let reader: TarReader

    init(_ reader: TarReader) {
        self.reader = reader
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int { try reader.read(into: buffer) }
}
