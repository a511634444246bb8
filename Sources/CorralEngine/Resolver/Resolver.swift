internal import CorralEvents
internal import CorralPolicy
internal import Synchronization

/// Asks name servers outside.
protocol UpstreamResolver: Sendable {
    /// The answer to exactly this question, checked against forgery, of any response code. `question.name` is in lower case.
    func resolve(_ question: DNSQuestion) async throws(UpstreamError) -> DNSMessage
}

/// One query in, one answer out: decides by the sandbox's policy, forwards, screens, and opens an answer's addresses before it
/// lets the answer go.
final class Resolver: Sendable {
    /// What became of a query at once.
    enum Intake: Sendable {
        /// Not answered.
        case drop
        case answer([UInt8])
        /// Hand it to `resolve`, exactly once.
        case forward(Forward)
    }

    /// A query that must wait for name servers.
    struct Forward: Sendable {
        fileprivate var ask: Ask
        fileprivate var key: AnswerCache.Key
    }

    /// A query whose sender is known.
    fileprivate struct Ask: Sendable {
        var client: ResolverClient
        var source: ResolverPeer
        var server: IPAddress?
        var query: ClientQuery
        /// Lower case, no dot at the end.
        var name: String
    }

    /// By what the policy lets an answer go.
    fileprivate struct Permit: Sendable {
        var rules: [Int]
        /// The sandbox may reach every global address, whatever its name.
        var anywhere: Bool
        var verdict: Verdict
        var reason: Reason
        var rule: RuleReference?
    }

    private struct State: Sendable {
        /// By slot.
        var clients: [UInt32: ResolverClientState] = [:]
        var outstanding = 0
        var statistics = ResolverStatistics()
        /// Slots with reports that were withheld.
        var withholding: Set<UInt32> = []
    }

    let configuration: ResolverConfiguration
    private let authority: any ResolverAuthority
    private let upstream: any UpstreamResolver
    private let now: @Sendable () -> ContinuousClock.Instant
    private let state = Mutex(State())

    init(
        configuration: ResolverConfiguration, authority: any ResolverAuthority, upstream: any UpstreamResolver,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
    ) {
        self.configuration = configuration
        self.authority = authority
        self.upstream = upstream
        self.now = now
    }

    var statistics: ResolverStatistics { state.withLock { $0.statistics } }

    /// What this sandbox has asked since its start: what `egress.limits.dnsQueries` counts.
    func queries(of client: ResolverClient) -> UInt64 {
        state.withLock { state in
            guard let known = state.clients[client.slot], known.epoch == client.epoch else { return 0 }
            return known.budget.queries
        }
    }

    /// Goes on counting where an earlier daemon stopped.
    func resume(_ client: ResolverClient, queries: UInt64) {
        withClient(client) { $0.budget.queries = max($0.budget.queries, queries) }
    }

    /// Frees what is held of a sandbox that is gone.
    func forget(_ client: ResolverClient) {
        state.withLock { state in
            guard state.clients[client.slot]?.epoch == client.epoch else { return }
            state.clients[client.slot] = nil
            state.withholding.remove(client.slot)
        }
    }

    /// Reports what was withheld. To be called about once a second.
    func sweep() {
        let now = now()
        let due: [(ResolverClient, DNSReport)] = state.withLock { state in
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
        for (client, report) in due { authority.report(report, for: client) }
    }

    /// Both steps in one.
    func answer(_ bytes: [UInt8], from source: ResolverPeer, at listener: IPAddress? = nil) async -> [UInt8]? {
        switch receive(bytes, from: source, at: listener) {
        case .drop: nil
        case .answer(let answer): answer
        case .forward(let forward): await resolve(forward)
        }
    }

    /// The first step. Never waits for the network.
    func receive(_ bytes: [UInt8], from source: ResolverPeer, at listener: IPAddress? = nil) -> Intake {
        let client = authority.client(at: source.address)
        count(\.received)
        guard let client else {
            count(\.dropped)
            return .drop
        }
        let now = now()
        let budget = authority.budget(for: client)
        let outcome = QueryGuard.judge(bytes, transport: source.transport)
        let payloadSize = configuration.payloadSize
        let query: ClientQuery
        let isAnswerable: Bool
        switch outcome {
        case .drop:
            count(\.dropped)
            return .drop
        case .malformed(let reply):
            count(\.malformed)
            let isWithinRate = withClient(client) { $0.budget.takeQuery(at: now) }
            return isWithinRate ? .answer(reply.encoded()) : .drop
        case .badVersion(let query):
            count(\.malformed)
            let isWithinRate = withClient(client) { $0.budget.takeQuery(at: now) }
            return isWithinRate ? .answer(query.reply(.badVersion, payloadSize: payloadSize).encoded()) : .drop
        case .refused(let refused): (query, isAnswerable) = (refused, false)
        case .query(let permitted): (query, isAnswerable) = (permitted, true)
        }
        let ask = Ask(
            client: client, source: source, server: authority.server(askedBy: client, from: source, at: listener),
            query: query, name: query.question.name.folded.description
        )
        let exhausted: DNSHint.Limit? = withClient(client) { state in
            guard state.budget.takeQuery(at: now) else { return .rate(configuration.budget.rate) }
            guard budget.map({ state.budget.queries < $0 }) ?? true else { return .queries(budget ?? 0) }
            state.budget.queries += 1
            return nil
        }
        if let exhausted { return limit(ask, exhausted, now) }
        guard isAnswerable else {
            return refuse(ask, .protocolNotAllowed, hint: DNSHint.neverAnswered(query.question))
        }
        guard let permit = permit(ask) else { return refuse(ask) }
        return find(ask, permit, now)
    }

    // MARK: the policy's word

    /// Nil when the name must not be resolved.
    private func permit(_ ask: Ask) -> Permit? {
        let decision = decision(ask)
        if case .allowed(let rules, let anywhere) = decision, !rules.isEmpty || anywhere {
            return Permit(
                rules: rules, anywhere: anywhere, verdict: .allow, reason: .allowedByRule,
                rule: rules.first.map { .allow($0) }
            )
        }
        guard authority.isAudited(ask.client), ask.query.question.name.isPlain else { return nil }
        let (reason, rule) = Self.reason(decision)
        return Permit(rules: [], anywhere: true, verdict: .wouldDeny, reason: reason, rule: rule)
    }

    private func decision(_ ask: Ask) -> NameDecision {
        // A dot inside a label would make two names of one text.
        guard ask.query.question.name.isPlain else { return .notAllowed }
        return authority.decide(ask.name, for: ask.client)
    }

    private static func reason(_ decision: NameDecision) -> (Reason, RuleReference?) {
        switch decision {
        case .denied(let rule): (.deniedByRule, .deny(rule))
        case .allowed, .notAllowed: (.nameNotAllowed, nil)
        }
    }

    private func refuse(_ ask: Ask) -> Intake {
        let (reason, rule) = Self.reason(decision(ask))
        return refuse(ask, reason, rule: rule, hint: DNSHint.refused(ask.query.question.name, reason, rule))
    }

    private func refuse(_ ask: Ask, _ reason: Reason, rule: RuleReference? = nil, hint: String) -> Intake {
        count(\.refused)
        report(ask, .deny, reason, .refused, rule: rule, hint: hint)
        return .answer(ask.query.reply(.refused, payloadSize: configuration.payloadSize).encoded())
    }

    /// Refuses for an exhausted budget. A flood of refusals is reported in sums.
    private func limit(_ ask: Ask, _ limit: DNSHint.Limit, _ now: ContinuousClock.Instant) -> Intake {
        let code: DNSResponseCode = if case .outstanding = limit { .serverFailure } else { .refused }
        count(\.limited)
        let refusal = makeReport(ask, .deny, .limitExhausted, code, hint: limit.hint)
        let due: DNSReport? = state.withLock { state in
            let slot = ask.client.slot
            guard state.clients[slot]?.epoch == ask.client.epoch else { return refusal }
            let due = state.clients[slot]?.add(refusal, interval: configuration.budget.reportInterval, at: now)
            if due == nil { state.withholding.insert(slot) } else { state.withholding.remove(slot) }
            return due
        }
        if let due { authority.report(due, for: ask.client) }
        return .answer(ask.query.reply(code, payloadSize: configuration.payloadSize).encoded())
    }

    // MARK: finding an answer

    private func find(_ ask: Ask, _ permit: Permit, _ now: ContinuousClock.Instant) -> Intake {
        let key = AnswerCache.Key(name: ask.query.question.name.folded, type: ask.query.question.type)
        enum Found {
            case content(AnswerCache.Content, seconds: UInt32)
            case exhausted(DNSHint.Limit)
            case nothing
        }
        let found: Found = withState(of: ask.client) { all, state in
            if let known = state.cache.content(for: key, at: now) {
                return .content(known.content, seconds: known.seconds)
            }
            guard state.outstanding < configuration.mostOutstanding,
                all.outstanding < configuration.mostOutstandingTotal
            else { return .exhausted(.outstanding) }
            // Who may reach any address needs no name to carry anything out.
            if !permit.anywhere, state.forwarding[key] == nil, !state.budget.takeName(key.name, at: now) {
                return .exhausted(.nameOctets)
            }
            state.outstanding += 1
            all.outstanding += 1
            return .nothing
        }
        switch found {
        case .exhausted(let budget): return limit(ask, budget, now)
        case .nothing: return .forward(Forward(ask: ask, key: key))
        case .content(let content, let seconds):
            count(\.fromCache)
            return finish(ask, permit, content, seconds: seconds).map { .answer($0) } ?? .drop
        }
    }

    /// The second step: waits for name servers. Nil when the query is not answered.
    func resolve(_ forward: Forward) async -> [UInt8]? {
        let ask = forward.ask
        let task = withClient(ask.client) { state in
            if let running = state.forwarding[forward.key] { return running }
            let task = Task { await self.fetch(forward.key, for: ask.client) }
            state.forwarding[forward.key] = task
            return task
        }
        let content = await task.value
        state.withLock { state in
            state.outstanding -= 1
            if state.clients[ask.client.slot]?.epoch == ask.client.epoch {
                state.clients[ask.client.slot]?.outstanding -= 1
            }
        }
        // The policy may have changed meanwhile.
        guard let permit = permit(ask) else {
            guard case .answer(let answer) = refuse(ask) else { return nil }
            return answer
        }
        return finish(ask, permit, content, seconds: Self.lifetime(of: content, configuration))
    }

    private func fetch(_ key: AnswerCache.Key, for client: ResolverClient) async -> AnswerCache.Content {
        count(\.forwarded)
        let question = DNSQuestion(name: key.name, type: key.type)
        var content = AnswerCache.Content.failure
        if let message = try? await upstream.resolve(question),
            let answer = try? AnswerScreen.follow(
                question, in: message, longestChain: configuration.longestChain, mostRecords: configuration.mostRecords)
        {
            content = .answer(answer)
        } else {
            count(\.failed)
        }
        let now = now()
        let lasting: Duration =
            switch content {
            case .failure: configuration.cache.failure
            case .answer: .seconds(Int64(Self.lifetime(of: content, configuration)))
            }
        state.withLock { state in
            guard state.clients[client.slot]?.epoch == client.epoch else { return }
            state.clients[client.slot]?.forwarding[key] = nil
            state.clients[client.slot]?.cache.insert(content, for: key, lasting: lasting, at: now)
        }
        return content
    }

    /// Seconds, within floor and ceiling.
    private static func lifetime(of content: AnswerCache.Content, _ configuration: ResolverConfiguration) -> UInt32 {
        guard case .answer(let answer) = content else { return 0 }
        let isNegative = answer.authority != nil || answer.records.isEmpty || answer.code != .noError
        return isNegative
            ? min(answer.ttl, configuration.negativeCeiling)
            : min(max(answer.ttl, configuration.ttlFloor), configuration.ttlCeiling)
    }

    // MARK: letting it go

    /// `seconds`: how long the content holds. Nil when nothing may be answered.
    private func finish(
        _ ask: Ask, _ permit: Permit, _ content: AnswerCache.Content, seconds: UInt32
    ) -> [UInt8]? {
        // Whoever lives at the address now did not ask.
        guard authority.client(at: ask.source.address) == ask.client else {
            count(\.dropped)
            return nil
        }
        guard case .answer(let answer) = content else {
            report(ask, permit, .serverFailure, hint: DNSHint.noServer)
            return ask.query.reply(.serverFailure, payloadSize: configuration.payloadSize).encoded()
        }
        let screened = AnswerScreen.screen(
            answer.records, for: ask.query.question.type, mostAddresses: configuration.mostAddresses
        ) { authority.mayAnswer($0, for: ask.client) }
        let isEmptied = screened.records.isEmpty && !answer.records.isEmpty

        var reply = ask.query.reply(isEmptied ? .noError : answer.code, payloadSize: configuration.payloadSize)
        reply.answers = screened.records.map { record in
            var record = record
            // The name asked comes back in the case in which it was asked.
            if record.name == ask.query.question.name { record.name = ask.query.question.name }
            record.ttl = seconds
            return record
        }
        if var authority = answer.authority, !isEmptied {
            authority.ttl = seconds
            reply.authorities = [authority]
        }
        let bytes = reply.encoded(limit: ask.query.answerLimit(payloadSize: configuration.payloadSize))
        let isTruncated = DNSFlags(rawValue: UInt16(bytes[2]) << 8).isTruncated
        let given = isTruncated ? [] : screened.addresses

        if !permit.rules.isEmpty, !given.isEmpty {
            do {
                try authority.pin(
                    given, name: ask.name, rules: permit.rules,
                    seconds: UInt32(clamping: UInt64(seconds) + UInt64(configuration.grace)), for: ask.client)
            } catch {
                count(\.unpinned)
                report(ask, permit, .serverFailure, hint: DNSHint.notPinned("\(error)"))
                return ask.query.reply(.serverFailure, payloadSize: configuration.payloadSize).encoded()
            }
        }
        if isEmptied, !screened.removed.isEmpty {
            report(
                ask, .deny, .reservedAddress, .noError, rule: permit.rule, removed: screened.removed,
                hint: DNSHint.onlyReserved(ask.query.question.name, screened.removed))
        } else {
            report(ask, permit, answer.code, answers: given, removed: screened.removed)
        }
        return bytes
    }

    // MARK: reports and counts

    private func report(
        _ ask: Ask, _ permit: Permit, _ code: DNSResponseCode, answers: [IPAddress] = [], removed: [IPAddress] = [],
        hint: String? = nil
    ) {
        let advice =
            permit.verdict == .allow ? nil : DNSHint.refused(ask.query.question.name, permit.reason, permit.rule)
        report(
            ask, permit.verdict, permit.reason, code, rule: permit.rule, answers: answers, removed: removed,
            hint: hint ?? advice)
    }

    private func report(
        _ ask: Ask, _ verdict: Verdict, _ reason: Reason, _ code: DNSResponseCode, rule: RuleReference? = nil,
        answers: [IPAddress] = [], removed: [IPAddress] = [], hint: String? = nil
    ) {
        authority.report(
            makeReport(ask, verdict, reason, code, rule: rule, answers: answers, removed: removed, hint: hint),
            for: ask.client)
    }

    private func makeReport(
        _ ask: Ask, _ verdict: Verdict, _ reason: Reason, _ code: DNSResponseCode, rule: RuleReference? = nil,
        answers: [IPAddress] = [], removed: [IPAddress] = [], hint: String? = nil
    ) -> DNSReport {
        DNSReport(
            query: NameQuery(
                verdict: verdict, reason: reason, name: ask.name, recordType: ask.query.question.type,
                transport: ask.source.transport, responseCode: code, answers: answers, removed: removed,
                server: ask.server, hint: hint
            ), rule: rule)
    }

    private func count(_ counter: WritableKeyPath<ResolverStatistics, UInt64>) {
        state.withLock { $0.statistics[keyPath: counter] &+= 1 }
    }

    private func withClient<Value: Sendable>(
        _ client: ResolverClient, _ body: (inout ResolverClientState) -> Value
    ) -> Value {
        withState(of: client) { body(&$1) }
    }

    /// The state of an earlier tenant of the slot goes.
    private func withState<Value: Sendable>(
        of client: ResolverClient, _ body: (inout State, inout ResolverClientState) -> Value
    ) -> Value {
        state.withLock { state in
            let held = state.clients.removeValue(forKey: client.slot)
            var own: ResolverClientState
            if let held, held.epoch == client.epoch {
                own = held
            } else {
                own = ResolverClientState(epoch: client.epoch, configuration: configuration, now: now())
            }
            // A query that outlives its sandbox must not undo what the next tenant has.
            defer { state.clients[client.slot] = held.map { $0.epoch > client.epoch ? $0 : own } ?? own }
            return body(&state, &own)
        }
    }
}
