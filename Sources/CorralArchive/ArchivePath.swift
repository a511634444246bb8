/// One name of a path as the kernel takes it: any bytes but zero and the slash.
public struct FileName: Hashable, Sendable, Comparable, CustomStringConvertible {
    /// Zero-terminated.
    public let cString: [CChar]

    init(_ bytes: some Collection<UInt8>) {
        cString = bytes.map { CChar(bitPattern: $0) } + [0]
    }

    public init(_ text: String) {
        self.init(Array(text.utf8))
    }

    public var bytes: [UInt8] { cString.dropLast().map { UInt8(bitPattern: $0) } }
    public var description: String { String(decoding: bytes, as: UTF8.self) }

    public static func < (a: FileName, b: FileName) -> Bool {
        a.bytes.lexicographicallyPrecedes(b.bytes)
    }

    func hasPrefix(_ prefix: String) -> Bool { bytes.starts(with: prefix.utf8) }
}

/// A path below the root of a tree: no name of it is empty, `.` or `..`. Without names it is the root itself.
public struct ArchivePath: Hashable, Sendable, CustomStringConvertible {
    public var names: [FileName]

    public static let root = ArchivePath(names: [])

    public init(names: [FileName]) {
        self.names = names
    }

    /// What an archive writes. Throws for an absolute path, for one with `..`, and beyond the limits.
    public init(_ bytes: some Collection<UInt8>, limits: ArchiveLimits = ArchiveLimits()) throws(ArchiveError) {
        func refusal(_ kind: ArchiveError.Kind, _ what: String) -> ArchiveError {
            ArchiveError(kind, entry: String(decoding: bytes.prefix(256), as: UTF8.self), what)
        }
        guard let first = bytes.first else { throw refusal(.malformed, "has no name") }
        guard first != UInt8(ascii: "/") else {
            throw refusal(.refused, "is absolute; expected a path inside the archive")
        }
        guard bytes.count <= limits.pathBytes else {
            throw refusal(.limit, "is longer than \(limits.pathBytes) bytes")
        }
        guard !bytes.contains(0) else { throw refusal(.malformed, "holds a zero byte") }
        names = []
        for part in bytes.split(separator: UInt8(ascii: "/")) {
            if part.elementsEqual(".".utf8) { continue }
            guard !part.elementsEqual("..".utf8) else { throw refusal(.refused, "leads out of the archive by ..") }
            guard part.count <= ArchiveLimits.nameBytes else {
                throw refusal(.limit, "has a name of more than \(ArchiveLimits.nameBytes) bytes")
            }
            names.append(FileName(part))
        }
        guard names.count <= limits.depth else { throw refusal(.limit, "is deeper than \(limits.depth) directories") }
    }

    public var isRoot: Bool { names.isEmpty }
    public var parent: ArchivePath { ArchivePath(names: Array(names.dropLast())) }
    public var last: FileName? { names.last }
    public var bytes: [UInt8] { Array(names.map(\.bytes).joined(separator: [UInt8(ascii: "/")])) }
    public var description: String { isRoot ? "." : String(decoding: bytes, as: UTF8.self) }

    public func appending(_ name: FileName) -> ArchivePath { ArchivePath(names: names + [name]) }
}
