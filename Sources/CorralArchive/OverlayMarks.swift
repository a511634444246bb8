/// How a layer says that something below it is gone: in archives by names, as OCI has it, on the disk as overlayfs has it.
public enum OverlayMarks {
    /// `.wh.NAME` hides NAME; `.wh..wh..opq` hides all that the layers below have in its directory.
    static let prefix = ".wh."
    static let opaqueName = FileName(".wh..wh..opq")
    /// With the mount option userxattr, which a mount inside a user namespace has.
    static let attributePrefix = "user.overlay."
    static let opaqueAttribute = "user.overlay.opaque"

    /// What a name of a layer's archive marks.
    enum Mark: Equatable {
        case hides(FileName)
        case opaque
    }

    /// Nil for an ordinary name. Throws for one that marks nothing sensible.
    static func mark(_ path: ArchivePath) throws(ArchiveError) -> Mark? {
        for name in path.names.dropLast() where name.hasPrefix(prefix) {
            throw ArchiveError(.refused, entry: path.description, "lies below a whiteout")
        }
        guard let name = path.last, name.hasPrefix(prefix) else { return nil }
        if name == opaqueName { return .opaque }
        let hidden = name.bytes.dropFirst(prefix.utf8.count)
        guard !hidden.isEmpty, !hidden.elementsEqual(".".utf8), !hidden.elementsEqual("..".utf8),
            !hidden.starts(with: prefix.utf8)
        else { throw ArchiveError(.refused, entry: path.description, "is a whiteout of nothing") }
        return .hides(FileName(hidden))
    }
}
