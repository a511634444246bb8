/// A CIDR block. The address has no bits set past the length; the length counts on 128 bits, so an IPv4 /24 is 120.
public struct IPPrefix: Hashable, Sendable {
    public let address: IPAddress
    /// 0...128.
    public let length: Int

    /// Bits past `length` are cleared.
    public init(_ address: IPAddress, length: Int) {
        self.address = address.masked(to: length)
        self.length = length
    }

    /// `203.0.113.0/24`, `2001:db8::/32`, or an address alone. Nil when it is malformed or has bits set past the length.
    public init?(_ text: some StringProtocol) {
        let slash = text.utf8.firstIndex(of: UInt8(ascii: "/"))
        let before = text[..<(slash ?? text.endIndex)]
        guard let address = IPAddress(before) else { return nil }
        var length = 128
        if let slash {
            let isIPv4 = !before.utf8.contains(UInt8(ascii: ":"))
            let after = text[text.utf8.index(after: slash)...]
            guard after.utf8.count <= 3, let written = DecimalText.integer(after).flatMap({ Int(exactly: $0) }),
                written <= (isIPv4 ? 32 : 128)
            else { return nil }
            length = isIPv4 ? written + 96 : written
        }
        guard address.masked(to: length) == address else { return nil }
        self.init(address, length: length)
    }

    /// Every address of both families.
    static let everything = IPPrefix(IPAddress(high: 0, low: 0), length: 0)

    /// The IPv4 block whose addresses a block inside NAT64 or 6to4 carries, else the block itself (`IPAddress.judged`).
    var judged: IPPrefix {
        let inner = address.judged
        guard inner != address else { return self }
        // The IPv4 address begins at bit 96 (RFC 6052) or at bit 16 (RFC 3056), and is bits 96..<128 here.
        let first = address.high >> 48 == 0x2002 ? 16 : 96
        guard length >= first else { return self }
        return IPPrefix(inner, length: min(96 + length - first, 128))
    }

    public func contains(_ other: IPAddress) -> Bool {
        other.masked(to: length) == address
    }

    public func contains(_ other: IPPrefix) -> Bool {
        other.length >= length && contains(other.address)
    }
}

extension IPPrefix: CustomStringConvertible {
    public var description: String {
        address.ipv4 != nil && length >= 96 ? "\(address)/\(length - 96)" : "\(address)/\(length)"
    }
}

extension IPPrefix: Comparable {
    /// By address, then length: a block stands before those inside it.
    public static func < (a: IPPrefix, b: IPPrefix) -> Bool {
        (a.address.high, a.address.low, a.length) < (b.address.high, b.address.low, b.length)
    }
}
