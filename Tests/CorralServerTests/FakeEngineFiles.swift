import CorralEngine
@testable import CorralServer

extension FakeEngine: FileEngine {
    /// Reads nothing of what it is given.
    func importImage(_ name: String, from inlet: ByteInlet) async throws -> ImageInfo {
        guard name != "bad" else {
            throw EngineError(.invalidRequest, "entry \"../x\": leads out of the archive by ..")
        }
        return ImageInfo(name: name, digest: "sha256:00", source: "rootfs", importedAt: 0)
    }

    func images() async throws -> [ImageInfo] { [ImageInfo(name: "host", digest: "", source: "host")] }

    func image(_ name: String) async throws -> ImageInfo {
        guard name == "team/python:3" else { throw EngineError(.notFound, "no image \(name)") }
        return ImageInfo(name: name, digest: "sha256:00", source: "oci", importedAt: 0)
    }

    func removeImage(_ name: String) async throws {
        throw EngineError(.conflict, "a sandbox stands on the image \(name)")
    }

    func snapshot(_ reference: String, name: String) async throws -> SnapshotInfo {
        SnapshotInfo(name: name, image: "host", imageDigest: "", createdAt: 0, size: 1, entries: 1)
    }

    func snapshots() async throws -> [SnapshotInfo] { [] }

    func snapshot(_ name: String) async throws -> SnapshotInfo { throw EngineError(.notFound, "no snapshot \(name)") }

    func removeSnapshot(_ name: String) async throws {}

    func exportSnapshot(_ name: String) async throws -> ByteOutlet {
        throw EngineError(.notFound, "no snapshot \(name)")
    }

    func importSnapshot(_ name: String, from inlet: ByteInlet) async throws -> SnapshotInfo {
        SnapshotInfo(name: name, image: "host", imageDigest: "", createdAt: 0, size: 1, entries: 1)
    }

    func readFiles(_ reference: String, path: String, contents: Bool, follow: Bool) async throws -> ByteOutlet {
        throw EngineError(.notFound, "there is no \(path) in the sandbox")
    }

    func writeFiles(_ reference: String, path: String, mode: CopyMode, from inlet: ByteInlet) async throws -> Int { 3 }
}
