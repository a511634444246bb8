/// One 512-byte header block (POSIX.1-2017 pax, and what GNU tar makes of it).
struct TarHeader {
    static let size = 512

    private let block: ArraySlice<UInt8>

    /// Throws unless the checksum is right.
    init(_ block: ArraySlice<UInt8>) throws(ArchiveError) {
        self.block = block
        guard block.count == Self.size, let stored = try? Self.octal(field(148, 8)) else { throw Self.damaged }
        var unsigned: Int64 = 0
        // Old programs added the bytes as signed ones.
        var signed: Int64 = 0
        for (index, byte) in block.enumerated() {
            let byte = (148..<156).contains(index) ? UInt8(ascii: " ") : byte
            unsigned += Int64(byte)
            signed += Int64(Int8(bitPattern: byte))
        }
        guard Int64(exactly: stored) == unsigned || Int64(exactly: stored) == signed else { throw Self.damaged }
    }

    private static let damaged = ArchiveError(
        .malformed, "a header's checksum is wrong: no tar archive, or a damaged one")

    private func field(_ offset: Int, _ count: Int) -> ArraySlice<UInt8> {
        block.dropFirst(offset).prefix(count)
    }

    private func text(_ offset: Int, _ count: Int) -> [UInt8] {
        Array(field(offset, count).prefix { $0 != 0 })
    }

    var type: UInt8 { block[block.startIndex + 156] }
    var linkName: [UInt8] { text(157, 100) }

    /// The name with its prefix, where the format has one.
    var name: [UInt8] {
        let name = text(0, 100)
        // "ustar" and a zero byte; GNU's has two spaces instead, and other things where the prefix would be.
        guard field(257, 6).elementsEqual([0x75, 0x73, 0x74, 0x61, 0x72, 0]) else { return name }
        let prefix = text(345, 155)
        return prefix.isEmpty ? name : prefix + [UInt8(ascii: "/")] + name
    }

    func mode() throws(ArchiveError) -> UInt64 { try Self.number(field(100, 8)) }
    func uid() throws(ArchiveError) -> UInt64 { try Self.number(field(108, 8)) }
    func gid() throws(ArchiveError) -> UInt64 { try Self.number(field(116, 8)) }
    func size() throws(ArchiveError) -> UInt64 { try Self.number(field(124, 12)) }
    func modified() throws(ArchiveError) -> Int64 { try Self.signed(field(136, 12)) }
    func major() throws(ArchiveError) -> UInt64 { try Self.number(field(329, 8)) }
    func minor() throws(ArchiveError) -> UInt64 { try Self.number(field(337, 8)) }

    /// GNU's map of a sparse file: four pieces here, 21 in each block that follows.
    func sparseSegments() throws(ArchiveError) -> [TreeEntry.Segment] { try Self.segments(field(386, 96)) }
    var sparseGoesOn: Bool { block[block.startIndex + 482] != 0 }
    func sparseSize() throws(ArchiveError) -> UInt64 { try Self.number(field(483, 12)) }

    static func segments(_ bytes: ArraySlice<UInt8>) throws(ArchiveError) -> [TreeEntry.Segment] {
        var segments: [TreeEntry.Segment] = []
        var rest = bytes
        while rest.count >= 24, rest[rest.startIndex] != 0 || rest[rest.startIndex + 12] != 0 {
            segments.append(
                .init(offset: try number(rest.prefix(12)), count: try number(rest.dropFirst(12).prefix(12))))
            rest = rest.dropFirst(24)
        }
        return segments
    }

    /// Octal digits, or with the highest bit set a big-endian number.
    static func number(_ field: ArraySlice<UInt8>) throws(ArchiveError) -> UInt64 {
        let value = try signed(field)
        guard let number = UInt64(exactly: value) else {
            throw ArchiveError(.malformed, "a header holds a negative number")
        }
        return number
    }

    static func signed(_ field: ArraySlice<UInt8>) throws(ArchiveError) -> Int64 {
        guard let first = field.first, first & 0x80 != 0 else { return try octal(field) }
        // Two's complement over all bytes but the first bit, as GNU tar writes it.
        var value: Int64 = first & 0x40 != 0 ? -1 : 0
        for (index, byte) in field.enumerated() {
            let byte = index == 0 ? (first & 0x40 != 0 ? byte : byte & 0x7f) : byte
            let (scaled, overflow) = value.multipliedReportingOverflow(by: 256)
            guard !overflow else { throw ArchiveError(.malformed, "a header holds a number of more than 63 bits") }
            value = scaled | Int64(byte)
        }
        return value
    }

    private static func octal(_ field: ArraySlice<UInt8>) throws(ArchiveError) -> Int64 {
        let digits = field.drop { $0 == UInt8(ascii: " ") }.prefix { $0 != 0 && $0 != UInt8(ascii: " ") }
        var value: Int64 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "7")).contains(digit) else {
                throw ArchiveError(.malformed, "a header holds a number that is none")
            }
            let (scaled, overflow) = value.multipliedReportingOverflow(by: 8)
            guard !overflow else { throw ArchiveError(.malformed, "a header holds a number of more than 63 bits") }
            value = scaled | Int64(digit - UInt8(ascii: "0"))
        }
        return value
    }
}
