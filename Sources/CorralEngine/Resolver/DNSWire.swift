/// Why octets are no DNS message.
enum DNSError: Error, Sendable, Equatable {
    /// A field reaches past the end.
    case truncated
    /// A label of a kind other than plain and pointer (RFC 6891, section 5, withdrew the rest).
    case labelType
    case nameTooLong
    /// A compression pointer that does not point before the part of the name that holds it, or into the header.
    case pointer
    /// Octets are left where something ends.
    case trailing
    /// The data of a record does not have the shape that its type asks for.
    case recordData
    /// More than one OPT record, or one that is not at the root.
    case edns
    /// The message would need more than 65,535 octets.
    case tooLong
}

/// Reads big-endian fields and names of one message. Every read is checked against the end.
struct DNSReader {
    let bytes: [UInt8]
    private(set) var position: Int
    /// Where reading ends: the message's end, or that of a record's data.
    private(set) var end: Int

    /// Octets of the header; no name begins in it.
    static let headerSize = 12
    /// A name of 255 octets has no more labels than this, so that no honest one needs more pointers.
    private static let mostPointers = 127

    init(_ bytes: [UInt8]) {
        self.bytes = bytes
        position = 0
        end = bytes.count
    }

    var isAtEnd: Bool { position == end }

    mutating func uint8() throws(DNSError) -> UInt8 {
        guard position < end else { throw .truncated }
        defer { position += 1 }
        return bytes[position]
    }

    mutating func uint16() throws(DNSError) -> UInt16 {
        guard end - position >= 2 else { throw .truncated }
        defer { position += 2 }
        return UInt16(bytes[position]) << 8 | UInt16(bytes[position + 1])
    }

    mutating func uint32() throws(DNSError) -> UInt32 {
        UInt32(try uint16()) << 16 | UInt32(try uint16())
    }

    mutating func octets(_ count: Int) throws(DNSError) -> [UInt8] {
        guard count >= 0, end - position >= count else { throw .truncated }
        defer { position += count }
        return Array(bytes[position..<(position + count)])
    }

    mutating func rest() -> [UInt8] {
        defer { position = end }
        return Array(bytes[position..<end])
    }

    /// Reads the next `count` octets with `body`, which must read all of them.
    mutating func within<Value>(
        _ count: Int, _ body: (inout DNSReader) throws(DNSError) -> Value
    ) throws(DNSError) -> Value {
        guard count >= 0, end - position >= count else { throw .truncated }
        let outer = end
        end = position + count
        let value = try body(&self)
        guard position == end else { throw .trailing }
        end = outer
        return value
    }

    /// A name, compressed or not (RFC 1035, section 4.1.4). Pointers lead backwards only, each before the part that holds it, so
    /// that none leads to itself.
    mutating func name() throws(DNSError) -> DNSName {
        var wire: [UInt8] = []
        var cursor = position
        var partStart = position
        var pointers = 0
        /// Labels behind a pointer may lie anywhere before it.
        var limit = end
        while true {
            guard cursor < limit else { throw .truncated }
            let octet = bytes[cursor]
            switch octet >> 6 {
            case 0b00:
                let next = cursor + 1 + Int(octet)
                guard next <= limit else { throw .truncated }
                guard wire.count + 1 + Int(octet) <= DNSName.longest - (octet == 0 ? 0 : 1) else { throw .nameTooLong }
                wire.append(contentsOf: bytes[cursor..<next])
                cursor = next
                if octet == 0 {
                    if pointers == 0 { position = cursor }
                    guard let name = DNSName(uncompressed: wire) else { throw .nameTooLong }
                    return name
                }
            case 0b11:
                guard cursor + 1 < limit else { throw .truncated }
                let target = Int(octet & 0x3f) << 8 | Int(bytes[cursor + 1])
                if pointers == 0 { position = cursor + 2 }
                pointers += 1
                guard target >= Self.headerSize, target < partStart, pointers <= Self.mostPointers else {
                    throw .pointer
                }
                limit = partStart
                partStart = target
                cursor = target
            default:
                throw .labelType
            }
        }
    }
}

/// Appends big-endian fields and names; names are compressed where the record's type lets them be.
struct DNSWriter {
    private(set) var bytes: [UInt8] = []
    /// Where names that were written begin, by their folded wire form.
    private var offsets: [ArraySlice<UInt8>: Int] = [:]

    mutating func uint8(_ value: UInt8) {
        bytes.append(value)
    }

    mutating func uint16(_ value: UInt16) {
        bytes.append(UInt8(truncatingIfNeeded: value >> 8))
        bytes.append(UInt8(truncatingIfNeeded: value))
    }

    mutating func uint32(_ value: UInt32) {
        uint16(UInt16(truncatingIfNeeded: value >> 16))
        uint16(UInt16(truncatingIfNeeded: value))
    }

    mutating func octets(_ octets: some Collection<UInt8>) {
        bytes.append(contentsOf: octets)
    }

    /// Sets two octets that were written before.
    mutating func overwrite(at position: Int, _ value: UInt16) {
        bytes[position] = UInt8(truncatingIfNeeded: value >> 8)
        bytes[position + 1] = UInt8(truncatingIfNeeded: value)
    }

    mutating func name(_ name: DNSName, compressed: Bool) {
        guard compressed else { return bytes.append(contentsOf: name.wire) }
        let folded = name.folded.wire
        var position = 0
        while folded[position] != 0 {
            let suffix = folded[position...]
            if let offset = offsets[suffix] {
                return uint16(0xc000 | UInt16(offset))
            }
            // A pointer has 14 bits.
            if bytes.count < 0x4000 { offsets[suffix] = bytes.count }
            let next = position + 1 + Int(folded[position])
            bytes.append(contentsOf: name.wire[position..<next])
            position = next
        }
        bytes.append(0)
    }
}
