/// An IPv4 or IPv6 address as 128 bits; IPv4 is held as `::ffff:a.b.c.d`, so both families share one order.
public struct IPAddress: Hashable, Sendable, Comparable {
    /// Most significant 64 bits, host order.
    public var high: UInt64
    /// Least significant 64 bits, host order.
    public var low: UInt64

    public init(high: UInt64, low: UInt64) {
        self.high = high
        self.low = low
    }

    /// `ipv4` in host order: 203.0.113.9 is `0xcb007109`.
    public init(ipv4: UInt32) {
        self.init(high: 0, low: 0xffff_0000_0000 | UInt64(ipv4))
    }

    /// 16 bytes in network order, or 4 for IPv4; nil for any other count.
    // Inlinable: readers of records in other modules ask for each, and would work through tables of generic types.
    @inlinable
    public init?(networkBytes bytes: some Collection<UInt8>) {
        switch bytes.count {
        case 4:
            self.init(ipv4: bytes.reduce(0) { $0 << 8 | UInt32($1) })
        case 16:
            self.init(
                high: bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) },
                low: bytes.dropFirst(8).reduce(0) { $0 << 8 | UInt64($1) }
            )
        default:
            return nil
        }
    }

    /// The IPv4 address in host order, when this is one (`::ffff:a.b.c.d`).
    public var ipv4: UInt32? {
        high == 0 && low >> 32 == 0xffff ? UInt32(truncatingIfNeeded: low) : nil
    }

    /// 16 bytes, network order.
    public var networkBytes: [UInt8] {
        (0..<16).map { UInt8(truncatingIfNeeded: ($0 < 8 ? high : low) >> UInt64((7 - $0 % 8) * 8)) }
    }

    /// The IPv4 address that a NAT64 (64:ff9b::/96, RFC 6052) or 6to4 (2002::/16, RFC 3056) address carries, else the
    /// address itself. A policy judges what a packet reaches, not how it is written.
    public var judged: IPAddress {
        if high == 0x0064_ff9b_0000_0000 && low >> 32 == 0 {
            return IPAddress(ipv4: UInt32(truncatingIfNeeded: low))
        }
        if high >> 48 == 0x2002 {
            return IPAddress(ipv4: UInt32(truncatingIfNeeded: high >> 16))
        }
        return self
    }

    public static func < (a: IPAddress, b: IPAddress) -> Bool {
        (a.high, a.low) < (b.high, b.low)
    }

    /// Bit `index` counted from the most significant, 0..<128.
    public func bit(_ index: Int) -> Bool {
        (index < 64 ? high >> UInt64(63 - index) : low >> UInt64(127 - index)) & 1 == 1
    }

    /// The first `length` bits, the rest zero.
    public func masked(to length: Int) -> IPAddress {
        precondition((0...128).contains(length))
        let highMask: UInt64 = length == 0 ? 0 : length >= 64 ? .max : ~0 << UInt64(64 - length)
        let lowMask: UInt64 = length <= 64 ? 0 : length == 128 ? .max : ~0 << UInt64(128 - length)
        return IPAddress(high: high & highMask, low: low & lowMask)
    }
}

extension IPAddress {
    /// Dotted quad or RFC 4291 text, without zone or prefix. Strict: no octal, no short forms of IPv4.
    public init?(_ text: some StringProtocol) {
        if text.utf8.contains(UInt8(ascii: ":")) {
            guard let value = Self.parseIPv6(text) else { return nil }
            self = value
        } else {
            guard let value = Self.parseIPv4(text) else { return nil }
            self.init(ipv4: value)
        }
    }

    private static func parseIPv4(_ text: some StringProtocol) -> UInt32? {
        let parts = text.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        guard parts.count == 4 else { return nil }
        var value: UInt32 = 0
        for part in parts {
            guard (1...3).contains(part.count), part.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
            guard part.count == 1 || part.first != 0x30 else { return nil }
            let octet = part.reduce(0 as UInt32) { $0 * 10 + UInt32($1 - 0x30) }
            guard octet <= 255 else { return nil }
            value = value << 8 | octet
        }
        return value
    }

    private static func parseIPv6(_ text: some StringProtocol) -> IPAddress? {
        var groups: [UInt16] = []
        var gap: Int?
        var rest = text[...]
        if rest.hasPrefix("::") {
            gap = 0
            rest = rest.dropFirst(2)
        } else if rest.hasPrefix(":") {
            return nil
        }
        while !rest.isEmpty {
            let part = rest.prefix { $0 != ":" }
            if part.utf8.contains(UInt8(ascii: ".")) {
                guard part.endIndex == rest.endIndex, let tail = parseIPv4(part) else { return nil }
                groups.append(UInt16(tail >> 16))
                groups.append(UInt16(truncatingIfNeeded: tail))
                break
            }
            guard (1...4).contains(part.utf8.count), part.utf8.first != UInt8(ascii: "+"),
                part.utf8.first != UInt8(ascii: "-"), let group = UInt16(part, radix: 16)
            else { return nil }
            groups.append(group)
            rest = rest[part.endIndex...]
            if rest.hasPrefix("::") {
                guard gap == nil else { return nil }
                gap = groups.count
                rest = rest.dropFirst(2)
            } else if rest.hasPrefix(":") {
                rest = rest.dropFirst()
                guard !rest.isEmpty else { return nil }
            }
            guard groups.count <= 8 else { return nil }
        }
        if let gap {
            guard groups.count < 8 else { return nil }
            groups.insert(contentsOf: repeatElement(0, count: 8 - groups.count), at: gap)
        }
        guard groups.count == 8 else { return nil }
        func word(_ groups: ArraySlice<UInt16>) -> UInt64 { groups.reduce(0) { $0 << 16 | UInt64($1) } }
        return IPAddress(high: word(groups[0..<4]), low: word(groups[4..<8]))
    }
}

extension IPAddress: CustomStringConvertible {
    /// Dotted quad for IPv4, RFC 5952 for IPv6.
    public var description: String {
        if let ipv4 {
            return "\(ipv4 >> 24).\(ipv4 >> 16 & 255).\(ipv4 >> 8 & 255).\(ipv4 & 255)"
        }
        let groups = (0..<8).map { UInt16(truncatingIfNeeded: ($0 < 4 ? high : low) >> UInt64((3 - $0 % 4) * 16)) }
        // The longest run of two or more zero groups, the first of equals.
        var best = 0..<0
        var start = 0
        while start < 8 {
            var end = start
            while end < 8 && groups[end] == 0 { end += 1 }
            if end - start > max(best.count, 1) { best = start..<end }
            start = max(end, start + 1)
        }
        func text(_ slice: ArraySlice<UInt16>) -> String {
            slice.map { String($0, radix: 16) }.joined(separator: ":")
        }
        return best.isEmpty
            ? text(groups[...]) : text(groups[..<best.lowerBound]) + "::" + text(groups[best.upperBound...])
    }
}
