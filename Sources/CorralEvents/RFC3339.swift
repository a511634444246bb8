/// Nanoseconds since 1970 and their RFC 3339 text in UTC, without Foundation.
public enum RFC3339 {
    /// `2026-11-24T05:12:01.123456789Z`: always nine digits of fraction.
    public static func text(_ nanoseconds: Int64) -> String {
        var bytes: [UInt8] = []
        append(nanoseconds, to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }

    static func append(_ nanoseconds: Int64, to bytes: inout [UInt8]) {
        let parts = Parts(nanoseconds)
        appendDigits(parts.year, 4, &bytes)
        bytes.append(UInt8(ascii: "-"))
        appendDigits(parts.month, 2, &bytes)
        bytes.append(UInt8(ascii: "-"))
        appendDigits(parts.day, 2, &bytes)
        bytes.append(UInt8(ascii: "T"))
        appendClock(parts, digits: 9, to: &bytes)
        bytes.append(UInt8(ascii: "Z"))
    }

    /// `05:12:01.123`, UTC.
    public static func appendTimeOfDay(_ nanoseconds: Int64, to bytes: inout [UInt8]) {
        appendClock(Parts(nanoseconds), digits: 3, to: &bytes)
    }

    private static func appendClock(_ parts: Parts, digits: Int, to bytes: inout [UInt8]) {
        appendDigits(parts.second / 3600, 2, &bytes)
        bytes.append(UInt8(ascii: ":"))
        appendDigits(parts.second / 60 % 60, 2, &bytes)
        bytes.append(UInt8(ascii: ":"))
        appendDigits(parts.second % 60, 2, &bytes)
        bytes.append(UInt8(ascii: "."))
        var fraction = parts.nanosecond
        for _ in digits..<9 { fraction /= 10 }
        appendDigits(fraction, digits, &bytes)
    }

    private static func appendDigits(_ value: Int64, _ count: Int, _ bytes: inout [UInt8]) {
        var divisor: Int64 = 1
        for _ in 1..<count { divisor *= 10 }
        var rest = value
        while divisor > 0 {
            bytes.append(UInt8(ascii: "0") &+ UInt8(truncatingIfNeeded: rest / divisor % 10))
            rest %= divisor
            divisor /= 10
        }
    }

    private struct Parts {
        var year, month, day: Int64
        /// Of the day.
        var second: Int64
        var nanosecond: Int64

        init(_ nanoseconds: Int64) {
            let seconds = floorDivide(nanoseconds, 1_000_000_000)
            nanosecond = seconds.remainder
            let days = floorDivide(seconds.quotient, 86_400)
            second = days.remainder
            // Days to a date of the proleptic Gregorian calendar, counted in 400-year eras that begin on 1 March, so
            // that the leap day is the last of its year.
            let shifted = days.quotient + 719_468
            let era = floorDivide(shifted, 146_097)
            let dayOfEra = era.remainder
            let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
            let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
            let shiftedMonth = (5 * dayOfYear + 2) / 153
            day = dayOfYear - (153 * shiftedMonth + 2) / 5 + 1
            month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
            year = yearOfEra + era.quotient * 400 + (month <= 2 ? 1 : 0)
        }
    }

    /// Nil unless `text` is RFC 3339 with `Z` and at most nine digits of fraction, within the range of Int64.
    public static func nanoseconds(_ text: some StringProtocol) -> Int64? {
        let bytes = Array(text.utf8)
        func number(_ range: Range<Int>) -> Int64? {
            var value: Int64 = 0
            for byte in bytes[range] {
                guard (0x30...0x39).contains(byte) else { return nil }
                value = value * 10 + Int64(byte - 0x30)
            }
            return value
        }
        let separators: [(Int, UInt8)] = [
            (4, UInt8(ascii: "-")), (7, UInt8(ascii: "-")), (10, UInt8(ascii: "T")), (13, UInt8(ascii: ":")),
            (16, UInt8(ascii: ":")),
        ]
        guard (20...30).contains(bytes.count), bytes.last == UInt8(ascii: "Z"),
            separators.allSatisfy({ bytes[$0.0] == $0.1 }),
            let year = number(0..<4), let month = number(5..<7), let day = number(8..<10), let hour = number(11..<13),
            let minute = number(14..<16), let second = number(17..<19), (1...12).contains(month), day >= 1,
            day <= daysIn(month: month, year: year), hour < 24, minute < 60, second < 60
        else { return nil }
        var fraction: Int64 = 0
        if bytes.count > 20 {
            guard bytes[19] == UInt8(ascii: "."), bytes.count > 21, let digits = number(20..<bytes.count - 1) else {
                return nil
            }
            fraction = digits
            for _ in (bytes.count - 21)..<9 { fraction *= 10 }
        }
        let shiftedYear = month <= 2 ? year - 1 : year
        let era = floorDivide(shiftedYear, 400)
        let dayOfYear = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1
        let dayOfEra = era.remainder * 365 + era.remainder / 4 - era.remainder / 100 + dayOfYear
        let days = era.quotient * 146_097 + dayOfEra - 719_468
        let seconds = days * 86_400 + hour * 3600 + minute * 60 + second
        // The first representable moment lies inside a second whose whole does not fit, so the fraction goes in first.
        let borrowed: Int64 = seconds < 0 ? 1 : 0
        let (whole, overflow) = (seconds + borrowed).multipliedReportingOverflow(by: 1_000_000_000)
        let (sum, carried) = whole.addingReportingOverflow(fraction - borrowed * 1_000_000_000)
        return overflow || carried ? nil : sum
    }

    private static func daysIn(month: Int64, year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}

private func floorDivide(_ value: Int64, _ divisor: Int64) -> (quotient: Int64, remainder: Int64) {
    let (quotient, remainder) = value.quotientAndRemainder(dividingBy: divisor)
    return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
}
