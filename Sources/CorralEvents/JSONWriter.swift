/// JSON text (RFC 8259) appended to a byte buffer, key by key; the caller keeps the order of calls sensible.
struct JSONWriter {
    private(set) var bytes: [UInt8]
    /// Nothing was written since the innermost `{` or `[`.
    private var isFirst = true

    /// Appends to what `bytes` holds already.
    init(appendingTo bytes: consuming [UInt8] = []) {
        self.bytes = bytes
    }

    mutating func beginObject() {
        bytes.append(UInt8(ascii: "{"))
        isFirst = true
    }

    mutating func endObject() {
        bytes.append(UInt8(ascii: "}"))
        isFirst = false
    }

    mutating func beginArray() {
        bytes.append(UInt8(ascii: "["))
        isFirst = true
    }

    mutating func endArray() {
        bytes.append(UInt8(ascii: "]"))
        isFirst = false
    }

    /// `key` is a literal that needs no escapes.
    mutating func key(_ key: StaticString) {
        separate()
        bytes.append(UInt8(ascii: "\""))
        key.withUTF8Buffer { bytes.append(contentsOf: $0) }
        bytes.append(UInt8(ascii: "\""))
        bytes.append(UInt8(ascii: ":"))
    }

    mutating func separate() {
        if isFirst {
            isFirst = false
        } else {
            bytes.append(UInt8(ascii: ","))
        }
    }

    mutating func endLine() {
        bytes.append(UInt8(ascii: "\n"))
    }

    mutating func strings(_ texts: [String]) {
        beginArray()
        for text in texts {
            separate()
            string(text)
        }
        endArray()
    }

    mutating func bool(_ value: Bool) {
        bytes.append(contentsOf: (value ? "true" : "false").utf8)
    }

    mutating func null() {
        bytes.append(contentsOf: "null".utf8)
    }

    mutating func number(_ value: some FixedWidthInteger & SignedInteger) {
        if value < 0 { bytes.append(UInt8(ascii: "-")) }
        digits(UInt64(value.magnitude))
    }

    mutating func number(_ value: some FixedWidthInteger & UnsignedInteger) {
        digits(UInt64(value))
    }

    private mutating func digits(_ value: UInt64) {
        let start = bytes.count
        var rest = value
        repeat {
            bytes.append(UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10))
            rest /= 10
        } while rest > 0
        bytes[start...].reverse()
    }

    mutating func time(_ nanoseconds: Int64) {
        bytes.append(UInt8(ascii: "\""))
        RFC3339.append(nanoseconds, to: &bytes)
        bytes.append(UInt8(ascii: "\""))
    }

    /// Every control character is escaped, those of C1 and DEL too, so that the line is harmless on a terminal.
    mutating func string(_ text: String) {
        bytes.append(UInt8(ascii: "\""))
        var text = text
        text.withUTF8 { utf8 in
            var start = utf8.startIndex
            for index in utf8.indices {
                let byte = utf8[index]
                let next = index + 1 < utf8.endIndex ? utf8[index + 1] : 0
                let isC1 = byte == 0xc2 && next < 0xa0
                guard byte < 0x20 || byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "\\") || byte == 0x7f || isC1
                else {
                    continue
                }
                bytes.append(contentsOf: utf8[start..<index])
                escape(isC1 ? next : byte)
                start = index + (isC1 ? 2 : 1)
            }
            bytes.append(contentsOf: utf8[start...])
        }
        bytes.append(UInt8(ascii: "\""))
    }

    private mutating func escape(_ byte: UInt8) {
        bytes.append(UInt8(ascii: "\\"))
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes.append(byte)
        case UInt8(ascii: "\n"): bytes.append(UInt8(ascii: "n"))
        case UInt8(ascii: "\r"): bytes.append(UInt8(ascii: "r"))
        case UInt8(ascii: "\t"): bytes.append(UInt8(ascii: "t"))
        default:
            bytes.append(contentsOf: "u00".utf8)
            for digit in [byte >> 4, byte & 15] {
                bytes.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
            }
        }
    }
}
