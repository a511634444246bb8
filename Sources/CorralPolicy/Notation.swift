/// Plain decimal numbers: digits, without sign, exponent, radix or blanks.
enum DecimalText {
    /// Nil when it is no such text, or more than 64 bits hold.
    static func integer(_ text: some StringProtocol) -> UInt64? {
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        return UInt64(text)
    }

    /// As `0.5` or `2`; at most nine digits on each side of the point.
    static func number(_ text: String) -> Double? {
        let parts = text.split(separator: ".", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count <= 2, parts.allSatisfy({ $0.utf8.count <= 9 && integer($0) != nil }) else { return nil }
        return Double(text)
    }
}

/// Sizes as policies write them: `50MiB`, `1GB`, `4096`.
public enum ByteSize {
    private static let units: [String: UInt64] = [
        "": 1, "B": 1, "KB": 1_000, "MB": 1_000_000, "GB": 1_000_000_000, "TB": 1_000_000_000_000, "KiB": 1 << 10,
        "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
    ]

    /// Bytes; nil when it is no such text, or more than 64 bits hold.
    public static func parse(_ text: String) -> UInt64? {
        let digits = text.prefix { $0.isASCII && $0.isNumber }
        guard let number = DecimalText.integer(digits), let unit = units[String(text.dropFirst(digits.count))]
        else {
            return nil
        }
        let (value, overflow) = number.multipliedReportingOverflow(by: unit)
        return overflow ? nil : value
    }

    /// As a policy writes it.
    public static func text(_ bytes: UInt64) -> String {
        for (name, unit) in [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)]
            as [(String, UInt64)]
        where bytes >= unit && bytes % unit == 0 {
            return "\(bytes / unit)\(name)"
        }
        return "\(bytes)"
    }
}

/// Rates as policies write them, in decimal units of bits a second: `500kbit`, `10Mbit`, `1.5Gbit`.
public enum BitRate {
    private static let units: [(name: String, bits: Double)] = [
        ("kbit", 1e3), ("Mbit", 1e6), ("Gbit", 1e9), ("bit", 1),
    ]

    /// Bits a second; nil when it is no such text.
    public static func parse(_ text: String) -> UInt64? {
        guard let unit = units.first(where: { text.hasSuffix($0.name) }),
            let number = DecimalText.number(String(text.dropLast(unit.name.count)))
        else { return nil }
        return UInt64(exactly: (number * unit.bits).rounded())
    }

    /// As a policy writes it.
    public static func text(_ bits: UInt64) -> String {
        for (name, unit) in [("Gbit", 1_000_000_000), ("Mbit", 1_000_000), ("kbit", 1_000)] as [(String, UInt64)]
        where bits >= unit && bits % unit == 0 {
            return "\(bits / unit)\(name)"
        }
        return "\(bits)bit"
    }
}

/// Durations as policies write them: `500ms`, `30s`, `5m`, `1h30m`.
public enum DurationText {
    /// Nil when it is no such text, is zero, or is longer than a year.
    public static func parse(_ text: String) -> Duration? {
        var rest = text[...]
        var total: Int64 = 0
        guard !rest.isEmpty else { return nil }
        while !rest.isEmpty {
            let digits = rest.prefix { $0.isASCII && $0.isNumber }
            guard (1...12).contains(digits.count),
                let number = DecimalText.integer(digits).flatMap({ Int64(exactly: $0) })
            else { return nil }
            rest = rest.dropFirst(digits.count)
            let unit = rest.prefix { $0.isASCII && $0.isLetter }
            rest = rest.dropFirst(unit.count)
            let milliseconds: [Substring: Int64] = ["ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000]
            guard let factor = milliseconds[unit] else { return nil }
            let (part, overflow) = number.multipliedReportingOverflow(by: factor)
            guard !overflow, part <= 31_536_000_000 else { return nil }
            total += part
        }
        return (1...31_536_000_000).contains(total) ? .milliseconds(total) : nil
    }

    /// As a policy writes it, to the millisecond.
    public static func text(_ duration: Duration) -> String {
        let (seconds, attoseconds) = duration.components
        let milliseconds = attoseconds / 1_000_000_000_000_000
        if milliseconds != 0 { return (seconds == 0 ? "" : "\(seconds)s") + "\(milliseconds)ms" }
        return seconds % 60 == 0 && seconds > 0 ? "\(seconds / 60)m" : "\(seconds)s"
    }
}
