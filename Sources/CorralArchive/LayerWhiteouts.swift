internal import Glibc

/// Applies the whiteouts of one layer to the tree that the layers below have made, before the layer itself is extracted: a
/// whiteout speaks of what is below only.
public struct LayerWhiteouts {
    private let root: Handle

    public init(root: Handle) {
        self.root = root
    }

    /// Nothing happens for an entry that is no whiteout.
    public func apply(_ entry: TreeEntry) throws {
        guard let mark = try OverlayMarks.mark(entry.path) else { return }
        var directory = root
        for name in entry.path.parent.names {
            // A parent that is no directory has nothing in it.
            guard let below = try? directory.directory(name, at: entry.path) else { return }
            directory = below
        }
        switch mark {
        case .hides(let name): try directory.remove(name)
        case .opaque: for name in try directory.names(at: entry.path.parent) { try directory.remove(name) }
        }
    }
}
