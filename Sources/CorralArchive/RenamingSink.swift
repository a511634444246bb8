/// Gives an archive's one top entry another name, in the paths of all that is below it and of hard links.
public final class RenamingSink: TreeSink {
    private let sink: any TreeSink
    private let name: FileName
    private var original: FileName?

    public init(_ sink: any TreeSink, top name: FileName) {
        self.sink = sink
        self.name = name
    }

    public func begin(_ entry: TreeEntry) throws {
        var entry = entry
        entry.path = try renamed(entry.path)
        if entry.kind == .hardLink { entry.linkTarget = try renamed(try ArchivePath(entry.linkTarget)).bytes }
        try sink.begin(entry)
    }

    private func renamed(_ path: ArchivePath) throws -> ArchivePath {
        guard let first = path.names.first else {
            throw ArchiveError(.refused, entry: ".", "has no name that could be changed")
        }
        if original == nil { original = first }
        guard first == original else {
            throw ArchiveError(.refused, entry: path.description, "is not below the archive's first entry")
        }
        return ArchivePath(names: [name] + path.names.dropFirst())
    }

    public func write(_ bytes: UnsafeRawBufferPointer) throws { try sink.write(bytes) }
    public func end() throws { try sink.end() }
}
