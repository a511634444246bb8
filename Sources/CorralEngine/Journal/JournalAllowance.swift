/// How many records each sandbox may still have in the journal: a bucket that holds `burst` and is filled by `rate` a second.
///
/// Without it, a sandbox that does nothing but be refused would push the records of all others out of what is kept. What is
/// not written is counted by sandbox.
struct JournalAllowance: Sendable {
    private struct Bucket: Sendable {
        var tokens: Double
        /// Nanoseconds since 1970.
        var filled: Int64
    }

    private let burst: Double
    private let rate: Double
    private var buckets: [String: Bucket] = [:]

    init(burst: Int, rate: Double) {
        self.burst = Double(max(1, burst))
        self.rate = max(0, rate)
    }

    /// Whether one more record of a sandbox is written.
    mutating func take(_ sandbox: String, at now: Int64) -> Bool {
        var bucket = buckets[sandbox] ?? Bucket(tokens: burst, filled: now)
        if now > bucket.filled {
            bucket.tokens = min(burst, bucket.tokens + Double(now - bucket.filled) / 1e9 * rate)
        }
        // A clock that was set back fills nothing by that.
        bucket.filled = now
        let isTaken = bucket.tokens >= 1
        if isTaken { bucket.tokens -= 1 }
        buckets[sandbox] = bucket
        return isTaken
    }

    /// Of a sandbox that is gone.
    mutating func forget(_ sandbox: String) {
        buckets[sandbox] = nil
    }
}
