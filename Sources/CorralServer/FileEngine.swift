public import CorralEngine

/// What the routes of images, snapshots and files need of an engine.
public protocol FileEngine: Sendable {
    func importImage(_ name: String, from inlet: ByteInlet) async throws -> ImageInfo
    func images() async throws -> [ImageInfo]
    func image(_ name: String) async throws -> ImageInfo
    func removeImage(_ name: String) async throws
    func snapshot(_ reference: String, name: String) async throws -> SnapshotInfo
    func snapshots() async throws -> [SnapshotInfo]
    func snapshot(_ name: String) async throws -> SnapshotInfo
    func removeSnapshot(_ name: String) async throws
    func exportSnapshot(_ name: String) async throws -> ByteOutlet
    func importSnapshot(_ name: String, from inlet: ByteInlet) async throws -> SnapshotInfo
    func readFiles(_ reference: String, path: String, contents: Bool, follow: Bool) async throws -> ByteOutlet
    func writeFiles(_ reference: String, path: String, mode: CopyMode, from inlet: ByteInlet) async throws -> Int
}

extension Engine: FileEngine {}
