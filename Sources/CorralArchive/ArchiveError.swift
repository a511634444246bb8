internal import Glibc

/// Why an archive, or a tree of files, was not taken.
public struct ArchiveError: Error, Sendable, Equatable, CustomStringConvertible {
    public enum Kind: Sendable, Equatable {
        /// It is not what its format demands: cut off, a wrong checksum, a number that is none.
        case malformed
        /// It is well formed and asks for what it does not get: a path that leads out, an owner out of range.
        case refused
        /// More of something than is taken.
        case limit
        /// A system call failed, with this errno.
        case system(Int32)
    }

    public var kind: Kind
    /// The entry at fault, as its archive names it; empty where none is to blame.
    public var entry: String
    public var what: String

    public init(_ kind: Kind, entry: String = "", _ what: String) {
        self.kind = kind
        self.entry = entry
        self.what = what
    }

    static func system(_ call: String, _ entry: ArchivePath) -> ArchiveError {
        let number = errno
        let reason = strerror(number).map { String(cString: $0) } ?? "errno \(number)"
        return ArchiveError(.system(number), entry: entry.description, "\(call): \(reason)")
    }

    /// `entry "etc/passwd": leads out of the archive`.
    public var description: String { entry.isEmpty ? what : "entry \"\(entry)\": \(what)" }
}

/// How much of an archive is taken.
public struct ArchiveLimits: Sendable, Equatable {
    public var entries = 1_000_000
    /// Bytes of content in all, holes not counted.
    public var dataBytes: UInt64 = 16 << 30
    /// Bytes of one path, and how many names it may have.
    public var pathBytes = 4095
    public var depth = 128
    /// Bytes of one extended header, and of one entry's extended attributes.
    public var headerBytes = 1 << 20
    public var attributeBytes = 64 << 10
    /// Pieces of data of one sparse file.
    public var segments = 65_536
    /// Largest owner that an entry may have.
    public var largestOwner: UInt32 = 65_535

    public init() {}

    static let nameBytes = 255
    /// Apparent size of one file.
    static let fileBytes: UInt64 = 1 << 43
}

/// Bytes that come from somewhere, in order.
public protocol ByteSource: AnyObject {
    /// At least one byte, unless it is the end: 0. Blocks.
    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int
}

/// Bytes of an open descriptor, which stays the caller's.
public final class DescriptorSource: ByteSource {
    private let descriptor: Int32

    public init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while true {
            let count = Glibc.read(descriptor, buffer.baseAddress, buffer.count)
            if count >= 0 { return count }
            if errno != EINTR { throw ArchiveError.system("read", .root) }
        }
    }
}

/// Bytes in memory.
public final class MemorySource: ByteSource {
    private var rest: ArraySlice<UInt8>
    /// Most bytes of one read.
    private let piece: Int

    public init(_ bytes: [UInt8], piece: Int = .max) {
        rest = bytes[...]
        self.piece = piece
    }

    public func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let taken = rest.prefix(min(buffer.count, piece))
        buffer.copyBytes(from: taken)
        rest = rest.dropFirst(taken.count)
        return taken.count
    }
}
