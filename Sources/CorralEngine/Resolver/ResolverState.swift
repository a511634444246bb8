internal import CorralEvents

/// What the resolver holds of one sandbox. Sandboxes share none of it.
struct ResolverClientState: Sendable {
    let epoch: UInt64
    var budget: QueryBudget
    var cache: AnswerCache
    /// Questions that are being forwarded; a second query for one waits for the same answer, so that no more than one answer is
    /// ever waited for from outside (RFC 5452, section 5).
    var forwarding: [AnswerCache.Key: Task<AnswerCache.Content, Never>] = [:]
    /// Queries that wait for them.
    var outstanding = 0
    /// The newest refusal for an exhausted budget that has not been reported, with the number of those it stands for.
    var withheld: DNSReport?
    var reportedAt: ContinuousClock.Instant?

    init(epoch: UInt64, configuration: ResolverConfiguration, now: ContinuousClock.Instant) {
        self.epoch = epoch
        budget = QueryBudget(limits: configuration.budget, now: now)
        cache = AnswerCache(limits: configuration.cache)
    }

    /// Counts a refusal for an exhausted budget; returns what is to be reported now, if anything.
    mutating func add(_ refusal: DNSReport, interval: Duration, at now: ContinuousClock.Instant) -> DNSReport? {
        var refusal = refusal
        refusal.query.count = (withheld?.query.count ?? 0) + 1
        withheld = refusal
        return dueReport(interval: interval, at: now)
    }

    /// What was withheld, once the interval is over.
    mutating func dueReport(interval: Duration, at now: ContinuousClock.Instant) -> DNSReport? {
        guard let report = withheld else { return nil }
        if let reportedAt, reportedAt.duration(to: now) < interval { return nil }
        withheld = nil
        reportedAt = now
        return report
    }
}

/// Queries by what became of them, over all sandboxes, since start.
struct ResolverStatistics: Sendable, Equatable {
    /// Datagrams and frames from sandboxes.
    var received: UInt64 = 0
    /// From nobody's address, or no query at all.
    var dropped: UInt64 = 0
    var malformed: UInt64 = 0
    /// By the policy or the guard.
    var refused: UInt64 = 0
    /// By an exhausted budget.
    var limited: UInt64 = 0
    var fromCache: UInt64 = 0
    /// Questions put to an upstream server.
    var forwarded: UInt64 = 0
    /// Forwarded in vain.
    var failed: UInt64 = 0
    /// Answers withheld because the kernel did not take their addresses.
    var unpinned: UInt64 = 0
}
