/// A file of a tree, without its content.
public struct TreeEntry: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        case file
        case directory
        case symbolicLink
        /// Another name of the file at `linkTarget`.
        case hardLink
        case fifo
        case characterDevice
        case blockDevice
    }

    public struct Time: Sendable, Equatable {
        /// Since 1970, UTC.
        public var seconds: Int64
        public var nanoseconds: Int64

        public init(seconds: Int64, nanoseconds: Int64 = 0) {
            self.seconds = seconds
            self.nanoseconds = nanoseconds
        }
    }

    public struct Attribute: Sendable, Equatable {
        /// `user.comment`.
        public var name: String
        public var value: [UInt8]

        public init(name: String, value: [UInt8]) {
            self.name = name
            self.value = value
        }
    }

    /// Where a piece of a sparse file's data belongs. Bytes.
    public struct Segment: Sendable, Equatable {
        public var offset: UInt64
        public var count: UInt64

        public init(offset: UInt64, count: UInt64) {
            self.offset = offset
            self.count = count
        }
    }

    public var path: ArchivePath
    public var kind: Kind
    /// Permissions with set-user-id, set-group-id and sticky.
    public var mode: UInt32
    public var uid: UInt32
    public var gid: UInt32
    public var modified: Time
    /// Of a file: its length, holes counted.
    public var size: UInt64
    /// Of a symbolic link any bytes; of a hard link a path of the archive.
    public var linkTarget: [UInt8]
    public var attributes: [Attribute]
    /// Of a device.
    public var major: UInt32
    public var minor: UInt32
    /// Of a sparse file: where its data lies, in order and apart; nil: everywhere.
    public var segments: [Segment]?

    public init(
        path: ArchivePath, kind: Kind, mode: UInt32, uid: UInt32 = 0, gid: UInt32 = 0,
        modified: Time = Time(seconds: 0), size: UInt64 = 0, linkTarget: [UInt8] = [], attributes: [Attribute] = [],
        major: UInt32 = 0, minor: UInt32 = 0, segments: [Segment]? = nil
    ) {
        self.path = path
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.modified = modified
        self.size = size
        self.linkTarget = linkTarget
        self.attributes = attributes
        self.major = major
        self.minor = minor
        self.segments = segments
    }

    /// Bytes of content that go with it.
    public var dataBytes: UInt64 { segments.map { $0.reduce(0) { $0 &+ $1.count } } ?? size }
}

/// Takes a tree entry by entry: each `begin`, then its data in any number of pieces, then `end`.
public protocol TreeSink: AnyObject {
    func begin(_ entry: TreeEntry) throws
    /// The content in order; of a sparse file its segments, one after the other.
    func write(_ bytes: UnsafeRawBufferPointer) throws
    func end() throws
}
