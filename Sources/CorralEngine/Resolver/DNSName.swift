/// A domain name in wire form. Equal without regard to the case of ASCII letters (RFC 4343).
struct DNSName: Sendable {
    /// Octets of a name in wire form, the root's zero included (RFC 1035, section 2.3.4).
    static let longest = 255
    static let longestLabel = 63

    /// Labels, each behind its length, and the root's zero; letters in the case they came in. 1...255 octets.
    let wire: [UInt8]

    static let root = DNSName(wire: [0])

    private init(wire: [UInt8]) {
        self.wire = wire
    }

    /// Nil unless `wire` is one whole uncompressed name.
    init?(uncompressed wire: [UInt8]) {
        var position = 0
        while position < wire.count, wire[position] != 0 {
            guard wire[position] <= UInt8(Self.longestLabel) else { return nil }
            position += 1 + Int(wire[position])
        }
        guard position + 1 == wire.count, wire.count <= Self.longest else { return nil }
        self.wire = wire
    }

    /// From labels separated by dots, with a dot at the end or not; nil when a label or the whole is too long or empty.
    /// Knows no escapes.
    init?(_ text: some StringProtocol) {
        var wire: [UInt8] = []
        let trimmed = text.hasSuffix(".") ? text.dropLast() : text[...]
        if !trimmed.isEmpty {
            for label in trimmed.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false) {
                guard (1...Self.longestLabel).contains(label.count) else { return nil }
                wire.append(UInt8(label.count))
                wire.append(contentsOf: label)
            }
        }
        wire.append(0)
        guard wire.count <= Self.longest else { return nil }
        self.wire = wire
    }

    /// The same name in lower case.
    var folded: DNSName {
        // Length octets end at 63, below every letter.
        DNSName(wire: wire.map(Self.fold))
    }

    /// The same name, each letter in a case of its own choosing.
    func recased(using random: inout some RandomNumberGenerator) -> DNSName {
        var bits: UInt64 = 0
        var left = 0
        return DNSName(
            wire: wire.map { octet in
                let lower = Self.fold(octet)
                guard (0x61...0x7a).contains(lower) else { return octet }
                if left == 0 {
                    bits = random.next()
                    left = 64
                }
                defer {
                    bits >>= 1
                    left -= 1
                }
                return bits & 1 == 0 ? lower : lower - 0x20
            })
    }

    var isRoot: Bool { wire.count == 1 }

    /// One label at least, and each holds ASCII letters, digits, hyphens and underscores alone: what a policy can name, and
    /// what one text can mean.
    var isPlain: Bool {
        guard !isRoot else { return false }
        var position = 0
        while position < wire.count, wire[position] != 0 {
            let end = min(position + 1 + Int(wire[position]), wire.count)
            guard wire[(position + 1)..<end].allSatisfy(Self.isPlain) else { return false }
            position = end
        }
        return true
    }

    /// Whether this is `ancestor` or lies below it.
    func isWithin(_ ancestor: DNSName) -> Bool {
        let surplus = wire.count - ancestor.wire.count
        guard surplus >= 0 else { return false }
        var position = 0
        while position < surplus { position += 1 + Int(wire[position]) }
        guard position == surplus else { return false }
        return zip(wire[surplus...], ancestor.wire).allSatisfy { Self.fold($0) == Self.fold($1) }
    }

    private static func fold(_ octet: UInt8) -> UInt8 {
        (0x41...0x5a).contains(octet) ? octet + 0x20 : octet
    }

    private static func isPlain(_ octet: UInt8) -> Bool {
        switch fold(octet) {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
            UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

extension DNSName: Hashable {
    static func == (a: DNSName, b: DNSName) -> Bool {
        a.wire.count == b.wire.count && zip(a.wire, b.wire).allSatisfy { fold($0) == fold($1) }
    }

    func hash(into hasher: inout Hasher) {
        for octet in wire { hasher.combine(Self.fold(octet)) }
    }
}

extension DNSName: CustomStringConvertible {
    /// Without a dot at the end, `.` for the root; octets other than letters, digits, `-` and `_` as in a zone file.
    var description: String {
        guard !isRoot else { return "." }
        var text = ""
        var position = 0
        while position < wire.count, wire[position] != 0 {
            if position > 0 { text += "." }
            let end = min(position + 1 + Int(wire[position]), wire.count)
            for octet in wire[(position + 1)..<end] {
                if Self.isPlain(octet) {
                    text.unicodeScalars.append(Unicode.Scalar(octet))
                } else if (0x21...0x7e).contains(octet) {
                    text += "\\"
                    text.unicodeScalars.append(Unicode.Scalar(octet))
                } else {
                    let digits = String(octet)
                    text += "\\" + String(repeating: "0", count: 3 - digits.utf8.count) + digits
                }
            }
            position = end
        }
        return text
    }
}
