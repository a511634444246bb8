internal import CorralEvents
internal import Synchronization

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

/// All that the resolver holds of sandboxes, by slot.
final class ResolverLedger: Sendable {
    private struct State: Sendable {
        var clients: [UInt32: ResolverClientState] = [:]
        var outstanding = 0
        var statistics = ResolverStatistics()
        /// Slots with reports that were withheld.
        var withholding: Set<UInt32> = []
    }

    private let configuration: ResolverConfiguration
    private let state = Mutex(State())

    init(configuration: ResolverConfiguration) {
        self.configuration = configuration
    }

    var statistics: ResolverStatistics { state.withLock { $0.statistics } }

    func count(_ counter: WritableKeyPath<ResolverStatistics, UInt64>) {
        state.withLock { $0.statistics[keyPath: counter] &+= 1 }
    }

    func queries(of client: ResolverClient) -> UInt64 {
        state.withLock { state in
            guard let known = state.clients[client.slot], known.epoch == client.epoch else { return 0 }
            return known.budget.queries
        }
    }

    func forget(_ client: ResolverClient) {
        let waiting: [Task<AnswerCache.Content, Never>] = state.withLock { state in
            guard let own = state.clients[client.slot], own.epoch == client.epoch else { return [] }
            state.clients[client.slot] = nil
            state.withholding.remove(client.slot)
            return Array(own.forwarding.values)
        }
        for task in waiting { task.cancel() }
    }

    /// The state of an earlier tenant of the slot goes.
    func with<Value: Sendable>(
        _ client: ResolverClient, at now: ContinuousClock.Instant, _ body: (inout ResolverClientState) -> Value
    ) -> Value {
        state.withLock { Self.with(client, &$0, configuration, now, body) }
    }

    private static func with<Value>(
        _ client: ResolverClient, _ state: inout State, _ configuration: ResolverConfiguration,
        _ now: ContinuousClock.Instant, _ body: (inout ResolverClientState) -> Value
    ) -> Value {
        let held = state.clients.removeValue(forKey: client.slot)
        var own: ResolverClientState
        if let held, held.epoch == client.epoch {
            own = held
        } else {
            own = ResolverClientState(epoch: client.epoch, configuration: configuration, now: now)
        }
        // A query that outlives its sandbox must not undo what the next tenant has.
        defer { state.clients[client.slot] = held.map { $0.epoch > client.epoch ? $0 : own } ?? own }
        return body(&own)
    }

    enum Finding: Sendable {
        case content(AnswerCache.Content, seconds: UInt32)
        /// To be forwarded; it counts as outstanding until `settle`.
        case nothing
        case exhausted(DNSHint.Limit)
    }

    /// What is known, or the right to ask outside. `isCounted`: the name costs its octets when it is asked outside.
    func find(
        _ key: AnswerCache.Key, for client: ResolverClient, isCounted: Bool, at now: ContinuousClock.Instant
    ) -> Finding {
        state.withLock { state in
            let hasRoom = state.outstanding < configuration.mostOutstandingTotal
            let finding: Finding = Self.with(client, &state, configuration, now) { own in
                if let known = own.cache.content(for: key, at: now) {
                    return .content(known.content, seconds: known.seconds)
                }
                guard hasRoom, own.outstanding < configuration.mostOutstanding else { return .exhausted(.outstanding) }
                if isCounted, own.forwarding[key] == nil, !own.budget.takeName(key.name, at: now) {
                    return .exhausted(.nameOctets)
                }
                own.outstanding += 1
                return .nothing
            }
            if case .nothing = finding { state.outstanding += 1 }
            return finding
        }
    }

    /// Ends what `find` let begin.
    func settle(_ client: ResolverClient) {
        state.withLock { state in
            state.outstanding -= 1
            guard let own = state.clients[client.slot], own.epoch == client.epoch, own.outstanding > 0 else { return }
            state.clients[client.slot]?.outstanding -= 1
        }
    }

    func insert(
        _ content: AnswerCache.Content, for key: AnswerCache.Key, of client: ResolverClient, lasting duration: Duration,
        at now: ContinuousClock.Instant
    ) {
        state.withLock { state in
            guard state.clients[client.slot]?.epoch == client.epoch else { return }
            state.clients[client.slot]?.forwarding[key] = nil
            state.clients[client.slot]?.cache.insert(content, for: key, lasting: duration, at: now)
        }
    }

    /// Questions that wait for name servers, of all sandboxes.
    var forwarding: [Task<AnswerCache.Content, Never>] {
        state.withLock { $0.clients.values.flatMap(\.forwarding.values) }
    }

    /// Counts a refusal for an exhausted budget; returns what is to be reported now.
    func withhold(_ refusal: DNSReport, of client: ResolverClient, at now: ContinuousClock.Instant) -> DNSReport? {
        state.withLock { state in
            guard state.clients[client.slot]?.epoch == client.epoch else { return refusal }
            let interval = configuration.budget.reportInterval
            let due = state.clients[client.slot]?.add(refusal, interval: interval, at: now)
            if due == nil { state.withholding.insert(client.slot) } else { state.withholding.remove(client.slot) }
            return due
        }
    }

    /// Takes the reports whose time has come.
    func takeDue(at now: ContinuousClock.Instant) -> [(ResolverClient, DNSReport)] {
        state.withLock { state in
            var due: [(ResolverClient, DNSReport)] = []
            for slot in state.withholding {
                guard let epoch = state.clients[slot]?.epoch else {
                    state.withholding.remove(slot)
                    continue
                }
                let interval = configuration.budget.reportInterval
                if let report = state.clients[slot]?.dueReport(interval: interval, at: now) {
                    due.append((ResolverClient(slot: slot, epoch: epoch), report))
                    state.withholding.remove(slot)
                }
            }
            return due
        }
    }
}

/// Queries by what became of them, over all sandboxes, since start.
public struct ResolverStatistics: Sendable, Equatable {
    /// Datagrams and frames from sandboxes.
    public var received: UInt64 = 0
    /// From nobody's address, or no query at all.
    public var dropped: UInt64 = 0
    public var malformed: UInt64 = 0
    /// By the policy or the guard.
    public var refused: UInt64 = 0
    /// By an exhausted budget.
    public var limited: UInt64 = 0
    public var fromCache: UInt64 = 0
    /// Questions put to an upstream server.
    public var forwarded: UInt64 = 0
    /// Forwarded in vain.
    public var failed: UInt64 = 0
    /// Answers withheld because the kernel did not take their addresses.
    public var unpinned: UInt64 = 0

    public init() {}
}
