/// A name, or all names below one, as a policy writes it.
public struct DomainPattern: Sendable, Hashable {
    /// Lower case, A-labels, no dot at the end; for a wildcard without its `*.`.
    public let name: String
    /// `*.name`: any depth below `name`, which itself does not match.
    public let isWildcard: Bool

    /// Why a text is no pattern.
    public struct ParseError: Error, Sendable, Equatable {
        public var message: String
        public var expected: String
    }

    /// RFC 1035, section 2.3.4; without the dot at the end.
    static let maximumName = 253
    static let maximumLabel = 63

    /// An exact name or `*.name`. Case and one dot at the end mean nothing; letters beyond ASCII become A-labels (RFC 5890).
    public init(_ text: String) throws(ParseError) {
        var rest = text[...]
        // By bytes: as a character, the dot may be one with what stands before it.
        if rest.utf8.last == UInt8(ascii: ".") { rest = rest[..<rest.utf8.index(before: rest.endIndex)] }
        guard !rest.isEmpty else {
            throw ParseError(message: "is the root of all names", expected: Self.example)
        }
        if let literal = Self.literal(rest) { throw literal }
        var labels: [String] = []
        var isWildcard = false
        for (index, label) in rest.split(separator: ".", omittingEmptySubsequences: false).enumerated() {
            if label == "*" && index == 0 {
                isWildcard = true
            } else {
                labels.append(try Self.label(label))
            }
        }
        guard !labels.isEmpty else {
            throw ParseError(
                message: "covers every name",
                expected: "a domain behind it, like *.example.org; preset: internet permits all")
        }
        if let last = labels.last, Self.isNumber(last) {
            throw ParseError(message: "ends like an IPv4 address", expected: "cidr for addresses")
        }
        name = labels.joined(separator: ".")
        self.isWildcard = isWildcard
        let length = name.utf8.count + (isWildcard ? 2 : 0)
        guard length <= Self.maximumName else {
            throw ParseError(message: "is \(length) bytes long", expected: "at most \(Self.maximumName)")
        }
    }

    static let example = "a name like api.example.com, or *.example.org for all below it"

    /// - Parameter name: lower case, A-labels, no dot at the end.
    public func matches(_ name: String) -> Bool {
        guard isWildcard else { return name == self.name }
        let (name, base) = (name.utf8, self.name.utf8)
        guard name.count > base.count + 1 else { return false }
        let tail = name.suffix(base.count + 1)
        return tail.first == UInt8(ascii: ".") && tail.dropFirst().elementsEqual(base)
    }

    private static func literal(_ text: Substring) -> ParseError? {
        let bare = text.hasPrefix("[") && text.hasSuffix("]") ? text.dropFirst().dropLast() : text
        guard IPPrefix(bare) != nil || bare.utf8.contains(UInt8(ascii: ":")) else { return nil }
        return ParseError(message: "is an address, not a name", expected: "cidr for addresses")
    }

    /// What resolvers take for the last part of an IPv4 address: digits, or 0x and hexadecimal digits.
    private static func isNumber(_ label: String) -> Bool {
        label.utf8.allSatisfy { (0x30...0x39).contains($0) }
            || (label.hasPrefix("0x")
                && label.utf8.dropFirst(2).allSatisfy { Character(Unicode.Scalar($0)).isHexDigit })
    }

    /// In lower case, as an A-label where it holds letters beyond ASCII.
    private static func label(_ text: Substring) throws(ParseError) -> String {
        guard !text.isEmpty else { throw ParseError(message: "has an empty label", expected: example) }
        guard !text.utf8.contains(UInt8(ascii: "*")) else {
            throw ParseError(
                message: "has a * that is no first label of its own", expected: "* alone as the first label")
        }
        // Longer texts need not be converted to be refused.
        guard text.utf8.count <= 4 * maximumLabel else {
            throw ParseError(message: "has a label of \(text.utf8.count) bytes", expected: "at most \(maximumLabel)")
        }
        var label = text.lowercased()
        if !label.utf8.allSatisfy({ $0 < 0x80 }) {
            do throws(InternationalLabel.Failure) {
                label = try InternationalLabel.aLabel(label)
            } catch {
                throw ParseError(
                    message: "has the label \"\(text)\", which \(error.reason)",
                    expected: "the name as DNS has it, with xn--")
            }
        }
        for byte in label.utf8 {
            switch byte {
            case 0x61...0x7a, 0x30...0x39, UInt8(ascii: "-"), UInt8(ascii: "_"): continue
            default:
                let character =
                    byte < 0x21 || byte == 0x7f ? "a blank or control character" : "a \(Unicode.Scalar(byte))"
                throw ParseError(
                    message: "has \(character) in a label", expected: "letters, digits, hyphens, underscores")
            }
        }
        guard label.utf8.first != UInt8(ascii: "-"), label.utf8.last != UInt8(ascii: "-") else {
            throw ParseError(message: "has a hyphen at an end of a label", expected: example)
        }
        guard label.utf8.count <= maximumLabel else {
            throw ParseError(message: "has a label of \(label.utf8.count) bytes", expected: "at most \(maximumLabel)")
        }
        if label.hasPrefix("xn--"), Punycode.decode(label.utf8.dropFirst(4)) == nil {
            throw ParseError(message: "has the label \(label), which is no Punycode", expected: example)
        }
        return label
    }
}

extension DomainPattern: CustomStringConvertible {
    public var description: String { isWildcard ? "*.\(name)" : name }
}
