/// What one sandbox may ask of the resolver: how often, how much, and how many octets of names it can hand to others.
struct QueryBudget: Sendable {
    struct Limits: Sendable, Equatable {
        /// Queries a second in the long run, and at once. A browser looks up some 300 names for a page, a package manager
        /// several for each connection.
        var rate: Double = 100
        var burst: Double = 500

        /// Octets of names that a sandbox can send to name servers, a second in the long run and at once. A name costs its length
        /// when it is first sent, `repeatedName` when it was among the last `rememberedNames`. 16 KiB are some 500 names.
        /// A tunnel needs new names all the time, programs use few again and again.
        var nameOctetRate: Double = 32
        var nameOctetBurst: Double = 16_384
        var repeatedName: Double = 2
        var rememberedNames = 1024

        /// Refusals for an exhausted budget are reported one by one while they are this far apart, and summed otherwise.
        var reportInterval: Duration = .seconds(1)
    }

    private var limits: Limits
    private var queryTokens: TokenBucket
    private var octetTokens: TokenBucket
    /// The newer half of the names remembered, and the older.
    private var recent: Set<DNSName> = []
    private var older: Set<DNSName> = []

    /// All that were asked.
    var queries: UInt64 = 0

    init(limits: Limits, now: ContinuousClock.Instant) {
        self.limits = limits
        queryTokens = TokenBucket(rate: limits.rate, burst: limits.burst, now: now)
        octetTokens = TokenBucket(rate: limits.nameOctetRate, burst: limits.nameOctetBurst, now: now)
    }

    /// Takes one query from the rate; false when there is none.
    mutating func takeQuery(at now: ContinuousClock.Instant) -> Bool {
        queryTokens.take(1, at: now)
    }

    /// Takes the octets of a name that is about to be forwarded; false when there are too few, and nothing is taken.
    mutating func takeName(_ name: DNSName, at now: ContinuousClock.Instant) -> Bool {
        let isKnown = recent.contains(name) || older.contains(name)
        guard octetTokens.take(isKnown ? limits.repeatedName : Double(name.wire.count), at: now) else { return false }
        guard !recent.contains(name) else { return true }
        if recent.count >= max(1, limits.rememberedNames / 2) {
            older = recent
            recent = []
        }
        recent.insert(name.folded)
        return true
    }
}

/// Tokens that come at a steady rate and are kept up to a number.
struct TokenBucket: Sendable {
    private let rate: Double
    private let burst: Double
    private var tokens: Double
    private var filledAt: ContinuousClock.Instant

    /// Full. `rate`: tokens a second.
    init(rate: Double, burst: Double, now: ContinuousClock.Instant) {
        self.rate = rate
        self.burst = burst
        tokens = burst
        filledAt = now
    }

    mutating func take(_ count: Double, at now: ContinuousClock.Instant) -> Bool {
        if now > filledAt {
            let elapsed = filledAt.duration(to: now).components
            let seconds = Double(elapsed.seconds) + Double(elapsed.attoseconds) * 1e-18
            tokens = min(burst, tokens + rate * seconds)
            filledAt = now
        }
        guard tokens >= count else { return false }
        tokens -= count
        return true
    }
}
