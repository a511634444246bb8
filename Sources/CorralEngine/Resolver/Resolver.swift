internal import CorralEvents
internal import CorralPolicy

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

    fileprivate enum Judgement: Sendable {
        case permitted(Permit)
        case refused(Reason, RuleReference?)
    }

    let configuration: ResolverConfiguration
    private let authority: any ResolverAuthority
    private let upstream: any UpstreamResolver
    private let now: @Sendable () -> ContinuousClock.Instant
    private let ledger: ResolverLedger

    init(
        configuration: ResolverConfiguration, authority: any ResolverAuthority, upstream: any UpstreamResolver,
        now: @escaping @Sendable () -> ContinuousClock.Instant = { ContinuousClock.now }
    ) {
        self.configuration = configuration
        self.authority = authority
        self.upstream = upstream
        self.now = now
        ledger = ResolverLedger(configuration: configuration)
    }

    var statistics: ResolverStatistics { ledger.statistics }

    /// What this sandbox has asked since its start: what `egress.limits.dnsQueries` counts.
    func queries(of client: ResolverClient) -> UInt64 { ledger.queries(of: client) }

    /// Goes on counting where an earlier daemon stopped.
    func resume(_ client: ResolverClient, queries: UInt64) {
        ledger.with(client, at: now()) { $0.budget.queries = max($0.budget.queries, queries) }
    }

    /// Frees what is held of a sandbox that is gone.
    func forget(_ client: ResolverClient) { ledger.forget(client) }

    /// Reports what was withheld. To be called about once a second.
    func sweep() {
        for (client, report) in ledger.takeDue(at: now()) { authority.report(report, for: client) }
    }

    /// Gives up what waits for name servers, and returns when nothing does any more.
    func cancelAll() async {
        let tasks = ledger.forwarding
        for task in tasks { task.cancel() }
        for task in tasks { _ = await task.value }
    }

    /// Both steps in one.
    func answer(_ bytes: [UInt8], from source: ResolverPeer, at listener: IPAddress? = nil) async -> [UInt8]? {
        switch receive(bytes, from: source, at: listener) {
        case .drop: nil
        case .answer(let answer): answer
        case .forward(let forward): await resolve(forward)
        }
    }

    /// The first step. Never waits for the network. `client`: whose query it is, where `source` does not tell.
    func receive(
        _ bytes: [UInt8], from source: ResolverPeer, at listener: IPAddress? = nil, as client: ResolverClient? = nil
    ) -> Intake {
        ledger.count(\.received)
        guard let client = client ?? authority.client(at: source.address) else {
            ledger.count(\.dropped)
            return .drop
        }
        switch QueryGuard.judge(bytes, transport: source.transport) {
        case .drop:
            ledger.count(\.dropped)
            return .drop
        case .malformed(let reply): return complain(reply, client)
        case .badVersion(let query):
            return complain(query.reply(.badVersion, payloadSize: configuration.payloadSize), client)
        case .refused(let query):
            return admit(ask(query, client, source, listener)) { ask, _ in
                refuse(ask, .protocolNotAllowed, hint: DNSHint.neverAnswered(query.question))
            }
        case .query(let query):
            return admit(ask(query, client, source, listener)) { ask, now in
                switch judge(ask) {
                case .permitted(let permit): find(ask, permit, now)
                case .refused(let reason, let rule): refuse(ask, reason, rule)
                }
            }
        }
    }

    private func ask(
        _ query: ClientQuery, _ client: ResolverClient, _ source: ResolverPeer, _ listener: IPAddress?
    ) -> Ask {
        Ask(
            client: client, source: source, server: authority.server(askedBy: client, from: source, at: listener),
            query: query, name: query.question.name.folded.description)
    }

    /// Answers what cannot be read, as long as it comes no faster than questions may.
    private func complain(_ reply: DNSMessage, _ client: ResolverClient) -> Intake {
        ledger.count(\.malformed)
        let now = now()
        let isWithinRate = ledger.with(client, at: now) { $0.budget.takeQuery(at: now) }
        return isWithinRate ? .answer(reply.encoded()) : .drop
    }

    /// Goes on with `body` when the sandbox may ask once more.
    private func admit(_ ask: Ask, _ body: (Ask, ContinuousClock.Instant) -> Intake) -> Intake {
        let now = now()
        let most = authority.budget(for: ask.client)
        let exhausted: DNSHint.Limit? = ledger.with(ask.client, at: now) { state in
            guard state.budget.takeQuery(at: now) else { return .rate(configuration.budget.rate) }
            if let most, state.budget.queries >= most { return .queries(most) }
            state.budget.queries += 1
            return nil
        }
        if let exhausted { return limit(ask, exhausted, now) }
        authority.count(ask.client)
        return body(ask, now)
    }

    // MARK: the policy's word

    private func judge(_ ask: Ask) -> Judgement {
        // A dot inside a label would make two names of one text.
        guard ask.query.question.name.isPlain else { return .refused(.nameNotAllowed, nil) }
        let reason: Reason
        let rule: RuleReference?
        switch authority.decide(ask.name, for: ask.client) {
        case .allowed(let rules, let anywhere) where !rules.isEmpty || anywhere:
            return .permitted(
                Permit(
                    rules: rules, anywhere: anywhere, verdict: .allow, reason: .allowedByRule,
                    rule: rules.first.map { .allow($0) }))
        case .denied(let number): (reason, rule) = (.deniedByRule, .deny(number))
        case .allowed, .notAllowed: (reason, rule) = (.nameNotAllowed, nil)
        }
        guard authority.isAudited(ask.client) else { return .refused(reason, rule) }
        return .permitted(Permit(rules: [], anywhere: true, verdict: .wouldDeny, reason: reason, rule: rule))
    }

    private func refuse(_ ask: Ask, _ reason: Reason, _ rule: RuleReference?) -> Intake {
        refuse(ask, reason, rule: rule, hint: DNSHint.refused(ask.query.question.name, reason, rule))
    }

    private func refuse(_ ask: Ask, _ reason: Reason, rule: RuleReference? = nil, hint: String) -> Intake {
        ledger.count(\.refused)
        report(ask, .deny, reason, .refused, rule: rule, hint: hint)
        return .answer(ask.query.reply(.refused, payloadSize: configuration.payloadSize).encoded())
    }

    /// Refuses for an exhausted budget. A flood of refusals is reported in sums.
    private func limit(_ ask: Ask, _ limit: DNSHint.Limit, _ now: ContinuousClock.Instant) -> Intake {
        let code: DNSResponseCode = if case .outstanding = limit { .serverFailure } else { .refused }
        ledger.count(\.limited)
        let refusal = makeReport(ask, .deny, .limitExhausted, code, hint: limit.hint)
        if let due = ledger.withhold(refusal, of: ask.client, at: now) { authority.report(due, for: ask.client) }
        return .answer(ask.query.reply(code, payloadSize: configuration.payloadSize).encoded())
    }

    // MARK: finding an answer

    private func find(_ ask: Ask, _ permit: Permit, _ now: ContinuousClock.Instant) -> Intake {
        let key = AnswerCache.Key(name: ask.query.question.name.folded, type: ask.query.question.type)
        // Who may reach any address needs no name to carry anything out.
        switch ledger.find(key, for: ask.client, isCounted: !permit.anywhere, at: now) {
        case .exhausted(let budget): return limit(ask, budget, now)
        case .nothing: return .forward(Forward(ask: ask, key: key))
        case .content(let content, let seconds):
            ledger.count(\.fromCache)
            return finish(ask, permit, content, seconds: seconds).map { .answer($0) } ?? .drop
        }
    }

    /// The second step: waits for name servers. Nil when the query is not answered.
    func resolve(_ forward: Forward) async -> [UInt8]? {
        let ask = forward.ask
        let task = ledger.with(ask.client, at: now()) { state in
            if let running = state.forwarding[forward.key] { return running }
            let task = Task { await self.fetch(forward.key, for: ask.client) }
            state.forwarding[forward.key] = task
            return task
        }
        let content = await task.value
        ledger.settle(ask.client)
        // The policy may have changed meanwhile.
        switch judge(ask) {
        case .permitted(let permit):
            return finish(ask, permit, content, seconds: Self.lifetime(of: content, configuration))
        case .refused(let reason, let rule):
            guard authority.isPresent(ask.client),
                case .answer(let answer) = refuse(ask, reason, rule)
            else { return nil }
            return answer
        }
    }

    private func fetch(_ key: AnswerCache.Key, for client: ResolverClient) async -> AnswerCache.Content {
        ledger.count(\.forwarded)
        let question = DNSQuestion(name: key.name, type: key.type)
        var content = AnswerCache.Content.failure
        if let message = try? await upstream.resolve(question),
            let answer = try? AnswerScreen.follow(
                question, in: message, longestChain: configuration.longestChain, mostRecords: configuration.mostRecords)
        {
            content = .answer(answer)
        } else {
            ledger.count(\.failed)
        }
        let now = now()
        let lasting: Duration =
            switch content {
            case .failure: configuration.cache.failure
            case .answer: .seconds(Int64(Self.lifetime(of: content, configuration)))
            }
        ledger.insert(content, for: key, of: client, lasting: lasting, at: now)
        return content
    }

    /// Seconds, within floor and ceiling.
    private static func lifetime(of content: AnswerCache.Content, _ configuration: ResolverConfiguration) -> UInt32 {
        guard case .answer(let answer) = content else { return 0 }
        return answer.isNegative
            ? min(answer.ttl, configuration.negativeCeiling)
            : min(max(answer.ttl, configuration.ttlFloor), configuration.ttlCeiling)
    }

    // MARK: letting it go

    /// `seconds`: how long the content holds. Nil when nothing may be answered.
    private func finish(
        _ ask: Ask, _ permit: Permit, _ content: AnswerCache.Content, seconds: UInt32
    ) -> [UInt8]? {
        // Whoever lives at the address now did not ask.
        guard authority.isPresent(ask.client) else {
            ledger.count(\.dropped)
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
                ledger.count(\.unpinned)
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
}
