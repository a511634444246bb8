/// `GET /v1/snapshots/{name}`.
public struct Snapshot: Codable, Sendable, Equatable {
    public var name: String
    public var image: String
    /// Of the image's content; absent for `host`.
    public var imageDigest: String?
    /// The snapshot that it stands on.
    public var parent: String?
    /// Layers of its own.
    public var layers: Int
    /// RFC 3339.
    public var createdAt: String
    /// Bytes of content, without what it stands on.
    public var size: UInt64
    public var entries: Int
    /// Sockets, devices and names that a layer cannot hold.
    public var skipped: Int

    public init(
        name: String, image: String, imageDigest: String?, parent: String?, layers: Int, createdAt: String,
        size: UInt64, entries: Int, skipped: Int
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
}

/// `POST /v1/sandboxes/{id}/snapshot` → 201 `Snapshot`.
public struct SnapshotRequest: Codable, Sendable, Equatable {
    /// Of the snapshot.
    public var name: String

    public init(name: String) {
        self.name = name
    }
}

/// `PUT /v1/sandboxes/{id}/files` → 200.
public struct CopyResult: Codable, Sendable, Equatable {
    /// Files, directories and links that were written.
    public var entries: Int

    public init(entries: Int) {
        self.entries = entries
    }
}

/// A file or directory of the host, shown inside. Where the operator of the host allows it.
public struct MountRequest: Codable, Sendable, Equatable {
    public var source: String
    public var target: String
    /// Absent: true.
    public var readOnly: Bool?

    public init(source: String, target: String, readOnly: Bool? = nil) {
        self.source = source
        self.target = target
        self.readOnly = readOnly
    }

    /// `SOURCE:TARGET[:ro|rw]`; nil for anything else.
    public init?(_ text: String) {
        var parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        if parts.count == 3 {
            switch parts.removeLast() {
            case "ro": readOnly = nil
            case "rw": readOnly = false
            default: return nil
            }
        }
        guard parts.count == 2, parts.allSatisfy({ $0.hasPrefix("/") }) else { return nil }
        (source, target) = (parts[0], parts[1])
    }
}
