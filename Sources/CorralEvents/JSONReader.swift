/// A JSON value as it was read; numbers that are not whole, or fit no 64-bit integer, are kept as `other`.
enum JSONValue: Equatable {
    case null
    case bool(Bool)
    case unsigned(UInt64)
    case negative(Int64)
    case other
    case string(String)
    case array([JSONValue])
    /// In the order written; of equal keys the first counts.
    case object([(key: String, value: JSONValue)])

    subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }

    static func == (a: JSONValue, b: JSONValue) -> Bool {
        switch (a, b) {
        case (.null, .null), (.other, .other): true
        case (.bool(let a), .bool(let b)): a == b
        case (.unsigned(let a), .unsigned(let b)): a == b
        case (.negative(let a), .negative(let b)): a == b
        case (.string(let a), .string(let b)): a == b
        case (.array(let a), .array(let b)): a == b
        case (.object(let a), .object(let b)): a.elementsEqual(b) { $0.key == $1.key && $0.value == $1.value }
        default: false
        }
    }
}

/// Where and why text is no JSON.
struct JSONError: Error, Equatable {
    /// Bytes from the beginning.
    var offset: Int
    var expected: String
}

/// Reads one JSON text (RFC 8259), strictly: valid UTF-8, no lone surrogates, nothing behind it, bounded nesting.
///
/// Not FoundationEssentials' JSONDecoder: `corral tail` reads hundreds of thousands of events a second.
struct JSONReader {
    static let deepest = 32

    private let bytes: [UInt8]
    private var position = 0

    static func value(of bytes: [UInt8]) throws(JSONError) -> JSONValue {
        var reader = JSONReader(bytes: bytes)
        let value = try reader.value(depth: 0)
        reader.skipSpace()
        guard reader.position == bytes.count else { throw reader.error("nothing after the value") }
        return value
    }

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    private func error(_ expected: String) -> JSONError {
        JSONError(offset: position, expected: expected)
    }

    private var current: UInt8? {
        position < bytes.count ? bytes[position] : nil
    }

    private mutating func skipSpace() {
        while let byte = current, byte == 0x20 || byte == 0x0a || byte == 0x0d || byte == 0x09 { position += 1 }
    }

    private mutating func skip(_ byte: UInt8) -> Bool {
        guard current == byte else { return false }
        position += 1
        return true
    }

    private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
        guard depth < Self.deepest else { throw error("at most \(Self.deepest) levels of nesting") }
        skipSpace()
        guard let byte = current else { throw error("a value") }
        switch byte {
        case UInt8(ascii: "{"): return try object(depth: depth)
        case UInt8(ascii: "["): return try array(depth: depth)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "-"), UInt8(ascii: "0")...UInt8(ascii: "9"): return try number()
        case UInt8(ascii: "t"): return try word("true", .bool(true))
        case UInt8(ascii: "f"): return try word("false", .bool(false))
        case UInt8(ascii: "n"): return try word("null", .null)
        default: throw error("a value")
        }
    }

    private mutating func word(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
        let end = position + text.utf8CodeUnitCount
        guard end <= bytes.count, text.withUTF8Buffer({ bytes[position..<end].elementsEqual($0) }) else {
            throw error("\(text)")
        }
        position = end
        return value
    }

    private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
        position += 1
        var members: [(key: String, value: JSONValue)] = []
        skipSpace()
        if skip(UInt8(ascii: "}")) { return .object(members) }
        repeat {
            skipSpace()
            guard current == UInt8(ascii: "\"") else { throw error("a key") }
            let key = try string()
            skipSpace()
            guard skip(UInt8(ascii: ":")) else { throw error("a colon") }
            members.append((key, try value(depth: depth + 1)))
            skipSpace()
        } while skip(UInt8(ascii: ","))
        guard skip(UInt8(ascii: "}")) else { throw error("a comma or }") }
        return .object(members)
    }

    private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
        position += 1
        var elements: [JSONValue] = []
        skipSpace()
        if skip(UInt8(ascii: "]")) { return .array(elements) }
        repeat {
            elements.append(try value(depth: depth + 1))
            skipSpace()
        } while skip(UInt8(ascii: ","))
        guard skip(UInt8(ascii: "]")) else { throw error("a comma or ]") }
        return .array(elements)
    }

    private mutating func number() throws(JSONError) -> JSONValue {
        let start = position
        let isNegative = skip(UInt8(ascii: "-"))
        let firstDigit = position
        skipDigits()
        guard position > firstDigit, position == firstDigit + 1 || bytes[firstDigit] != UInt8(ascii: "0") else {
            throw error("a number")
        }
        var isWhole = true
        if skip(UInt8(ascii: ".")) {
            isWhole = false
            let fraction = position
            skipDigits()
            guard position > fraction else { throw error("a digit") }
        }
        if skip(UInt8(ascii: "e")) || skip(UInt8(ascii: "E")) {
            isWhole = false
            if !skip(UInt8(ascii: "+")) { _ = skip(UInt8(ascii: "-")) }
            let exponent = position
            skipDigits()
            guard position > exponent else { throw error("a digit") }
        }
        guard isWhole else { return .other }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        if isNegative { return Int64(text).map { $0 == 0 ? .unsigned(0) : .negative($0) } ?? .other }
        return UInt64(text).map { .unsigned($0) } ?? .other
    }

    private mutating func skipDigits() {
        while let byte = current, (0x30...0x39).contains(byte) { position += 1 }
    }

    private mutating func string() throws(JSONError) -> String {
        position += 1
        let start = position
        while let byte = current, byte != UInt8(ascii: "\""), byte != UInt8(ascii: "\\"), byte >= 0x20 { position += 1 }
        if current == UInt8(ascii: "\"") {
            let plain = try validated(bytes[start..<position])
            position += 1
            return plain
        }
        var unescaped = Array(bytes[start..<position])
        while let byte = current {
            switch byte {
            case UInt8(ascii: "\""):
                let text = try validated(unescaped[...])
                position += 1
                return text
            case UInt8(ascii: "\\"):
                position += 1
                unescaped.append(contentsOf: String(try escaped()).utf8)
            case 0..<0x20:
                throw error("no bare control character")
            default:
                unescaped.append(byte)
                position += 1
            }
        }
        throw error("the end of the string")
    }

    private func validated(_ slice: ArraySlice<UInt8>) throws(JSONError) -> String {
        guard let text = String(validating: slice, as: UTF8.self) else { throw error("valid UTF-8") }
        return text
    }

    private mutating func escaped() throws(JSONError) -> Unicode.Scalar {
        guard let byte = current else { throw error("an escape") }
        position += 1
        switch byte {
        case UInt8(ascii: "\""): return "\""
        case UInt8(ascii: "\\"): return "\\"
        case UInt8(ascii: "/"): return "/"
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{c}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try hexadecimal()
            if let scalar = Unicode.Scalar(unit) { return scalar }
            guard unit < 0xdc00, skip(UInt8(ascii: "\\")), skip(UInt8(ascii: "u")) else {
                throw error("a pair of surrogates")
            }
            let low = try hexadecimal()
            guard (0xdc00...0xdfff).contains(low),
                let scalar = Unicode.Scalar(0x10000 + (UInt32(unit - 0xd800) << 10) + UInt32(low - 0xdc00))
            else { throw error("a pair of surrogates") }
            return scalar
        default: throw error("an escape")
        }
    }

    private mutating func hexadecimal() throws(JSONError) -> UInt16 {
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue, byte < 0x80 else {
                throw error("four hexadecimal digits")
            }
            value = value << 4 | UInt16(digit)
            position += 1
        }
        return value
    }
}
