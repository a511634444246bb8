internal import Glibc

/// How long something took, as counts in a few classes: eight to a doubling, so that a quantile is at most 9 % too great.
struct Latencies: Sendable {
    private static let classesPerDoubling = 8.0
    /// Up to this many microseconds is one class.
    private static let least = 16.0
    private var counts = [UInt64](repeating: 0, count: 192)
    private(set) var count: UInt64 = 0

    mutating func record(_ duration: Duration) {
        let (seconds, attoseconds) = duration.components
        let microseconds = Double(seconds) * 1e6 + Double(attoseconds) / 1e12
        let place =
            microseconds <= Self.least ? 0 : (log2(microseconds / Self.least) * Self.classesPerDoubling).rounded(.up)
        counts[min(counts.count - 1, max(0, Int(place)))] += 1
        count += 1
    }

    /// Microseconds that `share` (0 to 1) of them did not exceed; nil when there were none.
    func quantile(_ share: Double) -> UInt64? {
        guard count > 0 else { return nil }
        let wanted = max(1, UInt64((Double(count) * share).rounded(.up)))
        var seen: UInt64 = 0
        for (place, number) in counts.enumerated() {
            seen += number
            if seen >= wanted {
                return UInt64(Self.least * exp2(Double(place) / Self.classesPerDoubling))
            }
        }
        return nil
    }
}
