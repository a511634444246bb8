/// Reads a tar archive as a stream: ustar, pax, GNU's long names and sparse files, base-256 numbers. Holds one header and
/// one block at a time, whatever the archive says of itself.
public final class TarReader {
    private let source: any ByteSource
    private let limits: ArchiveLimits
    private var buffer = [UInt8](repeating: 0, count: 128 << 10)
    private var position = 0
    private var filled = 0
    /// Of the current entry: bytes of data, then of padding, that have not been read.
    private var remaining: UInt64 = 0
    private var padding = 0
    private var global = PaxRecords()
    private var hasEnded = false
    private var entries = 0
    private var dataBytes: UInt64 = 0

    public init(_ source: any ByteSource, limits: ArchiveLimits = ArchiveLimits()) {
        self.source = source
        self.limits = limits
    }

    /// The next entry; what was not read of the one before is skipped. Nil at the archive's end. After an error the reader
    /// is of no use.
    public func next() throws -> TreeEntry? {
        guard !hasEnded else { return nil }
        try skip()
        var records = global
        var longName: [UInt8]?
        var longLink: [UInt8]?
        while let header = try nextHeader() {
            switch header.type {
            case UInt8(ascii: "x"):
                try records.parse(try extendedHeader(header)[...], limits: limits)
            case UInt8(ascii: "g"):
                try takeGlobal(try extendedHeader(header))
                records = global
            case UInt8(ascii: "L"): longName = Array(try extendedHeader(header).prefix { $0 != 0 })
            case UInt8(ascii: "K"): longLink = Array(try extendedHeader(header).prefix { $0 != 0 })
            case UInt8(ascii: "V"): _ = try extendedHeader(header)
            default: return try entry(header, records, longName, longLink)
            }
        }
        hasEnded = true
        // Padding to the size of a tape's record; a digest of the archive covers it.
        var trailing: UInt64 = 0
        while try fill() > 0 {
            trailing += UInt64(filled - position)
            position = filled
            guard trailing <= limits.dataBytes else { throw ArchiveError(.limit, "too much follows the archive's end") }
        }
        return nil
    }

    /// Bytes of the current entry's data; 0 at its end.
    public func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
        guard remaining > 0, !target.isEmpty else { return 0 }
        guard try fill() > 0 else { throw Self.cutOff }
        let count = min(target.count, filled - position, Int(clamping: remaining))
        buffer.withUnsafeBytes {
            target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[position..<position + count]))
        }
        position += count
        remaining -= UInt64(count)
        return count
    }

    /// Passes the rest of the archive on.
    public func copy(to sink: any TreeSink, _ isWanted: (TreeEntry) throws -> Bool = { _ in true }) throws {
        var piece = [UInt8](repeating: 0, count: 128 << 10)
        while let entry = try next() {
            guard try isWanted(entry) else { continue }
            try sink.begin(entry)
            while true {
                let count = try piece.withUnsafeMutableBytes { try read(into: $0) }
                if count == 0 { break }
                try piece.withUnsafeBytes { try sink.write(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
            }
            try sink.end()
        }
    }

    // MARK: blocks

    static let cutOff = ArchiveError(.malformed, "the archive is cut off")

    /// How many bytes are there, after a read if there were none; 0 at the end of the source.
    private func fill() throws -> Int {
        if position == filled {
            position = 0
            filled = try buffer.withUnsafeMutableBytes { try source.read(into: $0) }
        }
        return filled - position
    }

    private func take(_ count: Int) throws -> [UInt8] {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count)
        while bytes.count < count {
            let there = try fill()
            guard there > 0 else { throw Self.cutOff }
            let piece = min(there, count - bytes.count)
            bytes += buffer[position..<position + piece]
            position += piece
        }
        return bytes
    }

    private func skip() throws {
        var rest = remaining + UInt64(padding)
        while rest > 0 {
            let there = try fill()
            guard there > 0 else { throw Self.cutOff }
            let piece = min(there, Int(clamping: rest))
            position += piece
            rest -= UInt64(piece)
        }
        (remaining, padding) = (0, 0)
    }

    /// Nil at the end: a block of zeros.
    private func nextHeader() throws -> TarHeader? {
        let block = try take(TarHeader.size)
        if block.allSatisfy({ $0 == 0 }) { return nil }
        return try TarHeader(block[...])
    }

    private static func padding(after count: UInt64) -> Int { Int((512 - count % 512) % 512) }

    private func extendedHeader(_ header: TarHeader) throws -> [UInt8] {
        let size = try header.size()
        guard size <= UInt64(limits.headerBytes), let count = Int(exactly: size) else {
            throw ArchiveError(.limit, "an extended header of more than \(limits.headerBytes) bytes")
        }
        try countEntry()
        let bytes = try take(count)
        _ = try take(Self.padding(after: size))
        return bytes
    }

    private func countEntry() throws(ArchiveError) {
        entries += 1
        guard entries <= 2 * limits.entries else { throw ArchiveError(.limit, "more than \(limits.entries) entries") }
    }

    /// What speaks of one entry alone has no place in a header for all.
    private func takeGlobal(_ bytes: [UInt8]) throws {
        var records = global
        try records.parse(bytes[...], limits: limits)
        guard records.path == nil, records.linkPath == nil, records.size == nil, records.attributes.isEmpty,
            !records.sparse.isThere
        else { throw ArchiveError(.refused, "a global header gives every entry the same name, size or attributes") }
        global = records
    }

    // MARK: entries

    private func entry(
        _ header: TarHeader, _ records: PaxRecords, _ longName: [UInt8]?, _ longLink: [UInt8]?
    ) throws -> TreeEntry {
        try countEntry()
        let name = records.sparse.name ?? records.path ?? longName ?? header.name
        let path = try ArchivePath(name, limits: limits)
        do {
            var entry = TreeEntry(
                path: path, kind: try Self.kind(header.type, name: name), mode: UInt32(try header.mode() & 0o7777),
                modified: try records.modified ?? TreeEntry.Time(seconds: header.modified()),
                linkTarget: records.linkPath ?? longLink ?? header.linkName, attributes: records.attributes
            )
            entry.uid = try owner(try records.uid ?? header.uid(), "uid")
            entry.gid = try owner(try records.gid ?? header.gid(), "gid")
            // tar(1) writes a size for links too; no data follows.
            if entry.kind == .file {
                try takeSize(header, records, &entry)
            } else {
                try checkTarget(of: entry)
                if entry.kind == .characterDevice || entry.kind == .blockDevice {
                    entry.major = UInt32(clamping: try header.major())
                    entry.minor = UInt32(clamping: try header.minor())
                }
            }
            return entry
        } catch var error as ArchiveError {
            if error.entry.isEmpty { error.entry = path.description }
            throw error
        }
    }

    private func owner(_ number: UInt64, _ what: String) throws(ArchiveError) -> UInt32 {
        guard number <= UInt64(limits.largestOwner) else {
            throw ArchiveError(.refused, "belongs to \(what) \(number); a sandbox has 0 to \(limits.largestOwner)")
        }
        return UInt32(number)
    }

    private func checkTarget(of entry: TreeEntry) throws(ArchiveError) {
        switch entry.kind {
        case .symbolicLink:
            guard (1...4095).contains(entry.linkTarget.count), !entry.linkTarget.contains(0) else {
                throw ArchiveError(.malformed, "is a symbolic link to nothing that a path could be")
            }
        case .hardLink:
            do throws(ArchiveError) {
                guard try !ArchivePath(entry.linkTarget, limits: limits).isRoot else {
                    throw ArchiveError(.refused, "is the archive's root")
                }
            } catch {
                throw ArchiveError(error.kind, "is a hard link whose target \(error.what)")
            }
        default: break
        }
    }

    private static func kind(_ type: UInt8, name: [UInt8]) throws(ArchiveError) -> TreeEntry.Kind {
        switch type {
        // Before POSIX a directory was a file whose name ends in a slash.
        case 0, UInt8(ascii: "0"): return name.last == UInt8(ascii: "/") ? .directory : .file
        case UInt8(ascii: "7"), UInt8(ascii: "S"): return .file
        case UInt8(ascii: "1"): return .hardLink
        case UInt8(ascii: "2"): return .symbolicLink
        case UInt8(ascii: "3"): return .characterDevice
        case UInt8(ascii: "4"): return .blockDevice
        case UInt8(ascii: "5"): return .directory
        case UInt8(ascii: "6"): return .fifo
        default:
            let letter = (0x21...0x7e).contains(type) ? String(UnicodeScalar(type)) : "\(type)"
            throw ArchiveError(.refused, "is of the type \(letter), which is not taken")
        }
    }

    private func takeSize(_ header: TarHeader, _ records: PaxRecords, _ entry: inout TreeEntry) throws {
        var stored = try records.size ?? header.size()
        guard stored <= ArchiveLimits.fileBytes else { throw ArchiveError(.limit, "is too large") }
        padding = Self.padding(after: stored)
        entry.size = stored
        if header.type == UInt8(ascii: "S") {
            var segments = try header.sparseSegments()
            var goesOn = header.sparseGoesOn
            while goesOn {
                let block = try take(TarHeader.size)
                segments += try TarHeader.segments(block[..<504])
                goesOn = block[504] != 0
                guard segments.count <= limits.segments else { throw Self.tooManySegments(limits) }
            }
            entry.size = try header.sparseSize()
            entry.segments = segments
        } else if records.sparse.isThere {
            if let major = records.sparse.major {
                guard major == 1, records.sparse.minor == 0 else {
                    throw ArchiveError(.refused, "is a sparse file of a format that is not known")
                }
                entry.segments = try leadingMap(&stored)
            } else {
                entry.segments = try Self.pairs(records.sparse.map)
            }
            guard let size = records.sparse.size else { throw PaxRecords.malformed("a sparse file without its size") }
            entry.size = size
        }
        if let segments = entry.segments { try Self.check(segments, size: entry.size, stored: stored) }
        dataBytes += stored
        guard dataBytes <= limits.dataBytes else {
            throw ArchiveError(.limit, "is where the archive exceeds \(limits.dataBytes) bytes of content")
        }
        remaining = stored
    }

    private static func tooManySegments(_ limits: ArchiveLimits) -> ArchiveError {
        ArchiveError(.limit, "is a sparse file of more than \(limits.segments) pieces")
    }

    /// The map in front of the data: decimal numbers, a line each, filled up to whole blocks.
    private func leadingMap(_ stored: inout UInt64) throws -> [TreeEntry.Segment] {
        var numbers: [UInt64] = []
        var wanted: UInt64 = 1
        var line: [UInt8] = []
        while UInt64(numbers.count) < wanted {
            guard stored >= 512 else { throw PaxRecords.malformed("a map") }
            stored -= 512
            for byte in try take(512) where UInt64(numbers.count) < wanted {
                guard byte == UInt8(ascii: "\n") else {
                    line.append(byte)
                    guard line.count <= 20 else { throw PaxRecords.malformed("a map") }
                    continue
                }
                guard let number = PaxRecords.decimal(line[...]) else { throw PaxRecords.malformed("a map") }
                line = []
                if numbers.isEmpty {
                    guard number <= UInt64(limits.segments) else { throw Self.tooManySegments(limits) }
                    wanted = 1 + 2 * number
                }
                numbers.append(number)
            }
        }
        return try Self.pairs(Array(numbers.dropFirst()))
    }

    private static func pairs(_ numbers: [UInt64]) throws(ArchiveError) -> [TreeEntry.Segment] {
        guard numbers.count % 2 == 0 else { throw PaxRecords.malformed("a map") }
        return stride(from: 0, to: numbers.count, by: 2).map { .init(offset: numbers[$0], count: numbers[$0 + 1]) }
    }

    private static func check(
        _ segments: [TreeEntry.Segment], size: UInt64, stored: UInt64
    ) throws(ArchiveError) {
        var end: UInt64 = 0
        var sum: UInt64 = 0
        guard size <= ArchiveLimits.fileBytes else { throw ArchiveError(.limit, "is too large") }
        for segment in segments {
            guard segment.offset >= end, segment.offset <= size, segment.count <= size - segment.offset else {
                throw ArchiveError(.malformed, "is a sparse file whose pieces overlap or lie outside it")
            }
            end = segment.offset + segment.count
            sum += segment.count
        }
        guard sum == stored else {
            throw ArchiveError(.malformed, "is a sparse file whose pieces are not as long as its data")
        }
    }
}
