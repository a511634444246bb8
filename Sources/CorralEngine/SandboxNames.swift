internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Synchronization

/// What the resolver may know and do for each sandbox: which names its policy allows, and which addresses those names have
/// opened to it. One sandbox's answers open nothing for another.
final class SandboxNames: ResolverAuthority {
    /// A policy in force, as names need it.
    struct Terms: Sendable {
        let policy: Policy
        let names: NameRules
        let map: PolicyMap
        let generation: UInt32
        let host: HostContext

        init(policy: Policy, map: PolicyMap, generation: UInt32, host: HostContext) {
            self.policy = policy
            names = policy.names
            self.map = map
            self.generation = generation
            self.host = host
        }

        var reference: PolicyReference { PolicyReference(name: policy.name, generation: generation) }
    }

    private struct Tenant: Sendable {
        let identity: SandboxIdentity
        var sandbox: SandboxReference
        let refusals: RefusalLog
        var terms: Terms?
        /// By address, the names that have resolved to it, each with the end of its pin (CLOCK_BOOTTIME, nanoseconds).
        var pins: PinLog.Pins = [:]
        /// What the kernel was told of these addresses under the policy in force; nothing of one for which that failed.
        var opened: [IPAddress: [PinnedRule]] = [:]
        var log: PinLog
        /// A query was refused for the budget of the policy in force.
        var isExhausted = false
    }

    private struct State: Sendable {
        var tenants: [UInt32: Tenant] = [:]
        var slots: [IPAddress: UInt32] = [:]
    }

    /// Addresses that one sandbox can hold open at once.
    static let maximumAddresses = 4096
    /// Names that one of them is known by; a sandbox that may resolve `*.example.com` can think of any number. The one that ends first gives
    /// way.
    static let maximumNames = 256
    /// How long a pin that has ended is kept, so that a refusal can say that the name has to be resolved again.
    static let remembered: Duration = .seconds(600)

    private let hooks: SandboxHooks
    private let hub: EventHub
    private let directory: String
    private let state = Mutex(State())

    /// - Parameter directory: of the files that tell the next daemon what is open by which name. Made when it is missing.
    init(hooks: SandboxHooks, hub: EventHub, directory: String) throws(FileError) {
        self.hooks = hooks
        self.hub = hub
        self.directory = directory
        try Files.makeDirectories(directory)
    }

    // MARK: what the engine tells

    /// A sandbox that has been claimed. It may resolve nothing until `change` gives it a policy.
    func add(_ identity: SandboxIdentity, _ sandbox: SandboxReference, _ refusals: RefusalLog) {
        let log = PinLog(path: "\(directory)/\(sandbox.id)")
        // Of another sandbox of this id, which no daemon removed.
        log.remove()
        add(Tenant(identity: identity, sandbox: sandbox, refusals: refusals, log: log))
    }

    /// One that an earlier daemon has claimed: what it has resolved is known again. Throws when that cannot be read.
    func adopt(_ identity: SandboxIdentity, _ sandbox: SandboxReference, _ refusals: RefusalLog) throws {
        var log = PinLog(path: "\(directory)/\(sandbox.id)")
        let pins = try log.load()
        add(Tenant(identity: identity, sandbox: sandbox, refusals: refusals, pins: pins, log: log))
    }

    private func add(_ tenant: Tenant) {
        state.withLock { state in
            state.tenants[tenant.identity.slot] = tenant
            state.slots[tenant.identity.ipv4] = tenant.identity.slot
            state.slots[tenant.identity.ipv6] = tenant.identity.slot
        }
    }

    /// Lets go of everything that was opened for a sandbox.
    func remove(_ identity: SandboxIdentity) {
        state.withLock { state in
            guard let tenant = state.tenants[identity.slot], tenant.identity.epoch == identity.epoch else { return }
            state.tenants[identity.slot] = nil
            state.slots[identity.ipv4] = nil
            state.slots[identity.ipv6] = nil
            if let map = tenant.terms?.map { unpin(tenant.pins.keys, of: identity, map) }
            tenant.log.remove()
        }
    }

    /// Puts a policy in force by `swap`. Addresses that a name has opened and that the new policy allows as well stay open
    /// without a gap: they are pinned under the new policy before it decides. Throws what `swap` throws, and then nothing
    /// has changed.
    func change(_ terms: Terms?, of identity: SandboxIdentity, swap: () throws -> Void) throws {
        try state.withLock { state in
            guard var tenant = state.tenants[identity.slot], tenant.identity.epoch == identity.epoch else {
                return try swap()
            }
            var opened: [IPAddress: [PinnedRule]] = [:]
            if let terms {
                for (address, names) in tenant.pins {
                    // One that does not fit any more has to be resolved again.
                    opened[address] = open(address, names, terms, of: identity)
                }
            }
            crashPoint("names.carried")
            do {
                try swap()
            } catch {
                if let map = terms?.map { unpin(tenant.pins.keys, of: identity, map) }
                throw error
            }
            if let old = tenant.terms?.map, old !== terms?.map { unpin(tenant.pins.keys, of: identity, old) }
            crashPoint("names.old-unpinned")
            tenant.terms = terms
            tenant.opened = opened
            tenant.isExhausted = false
            state.tenants[identity.slot] = tenant
        }
    }

    /// Forgets pins that ended long ago. To be called now and then.
    func sweep() {
        let now = Clock.boottime()
        let (horizon, isEarly) = now.subtractingReportingOverflow(
            UInt64(Self.remembered.components.seconds) * 1_000_000_000)
        guard !isEarly else { return }
        state.withLock { state in
            for slot in state.tenants.compactMap({ $0.value.pins.isEmpty ? nil : $0.key }) {
                guard let index = state.tenants.index(forKey: slot) else { continue }
                prune(&state.tenants.values[index], before: horizon)
            }
        }
    }

    /// The name that a sandbox resolved to an address most lately; nil when it resolved none.
    func name(of address: IPAddress, slot: UInt32, epoch: UInt64) -> String? {
        state.withLock { state in
            guard let tenant = state.tenants[slot], tenant.identity.epoch == epoch, !tenant.pins.isEmpty else {
                return nil
            }
            return tenant.pins[address.judged]?.max { ($0.value, $0.key) < ($1.value, $1.key) }?.key
        }
    }

    /// Whether a query was refused for a limit since the policy came into force.
    func isExhausted(_ identity: SandboxIdentity) -> Bool {
        state.withLock { state in
            guard let tenant = state.tenants[identity.slot], tenant.identity.epoch == identity.epoch else {
                return false
            }
            return tenant.isExhausted
        }
    }

    /// Addresses that are open by a name, over all sandboxes.
    var openAddresses: Int {
        state.withLock { state in state.tenants.values.reduce(0) { $0 + $1.pins.count } }
    }

    // MARK: what the resolver asks

    func client(at address: IPAddress) -> ResolverClient? {
        state.withLock { state in
            guard let slot = state.slots[address], let tenant = state.tenants[slot] else { return nil }
            return ResolverClient(slot: slot, epoch: tenant.identity.epoch)
        }
    }

    func isPresent(_ client: ResolverClient) -> Bool {
        state.withLock { $0.tenants[client.slot]?.identity.epoch == client.epoch }
    }

    func decide(_ name: String, for client: ResolverClient) -> NameDecision {
        terms(of: client)?.names.decide(name) ?? .notAllowed
    }

    func mayAnswer(_ address: IPAddress, for client: ResolverClient) -> Bool {
        guard let terms = terms(of: client) else { return false }
        return terms.policy.mayAnswer(address, host: terms.host)
    }

    func pin(
        _ addresses: [IPAddress], name: String, rules: [Int], seconds: UInt32, for client: ResolverClient
    ) throws {
        let expires = Clock.boottime() &+ UInt64(seconds) * 1_000_000_000
        try state.withLock { state in
            guard let index = state.tenants.index(forKey: client.slot),
                state.tenants.values[index].identity.epoch == client.epoch,
                let terms = state.tenants.values[index].terms
            else { throw EngineError(.notFound, "the sandbox is gone") }
            // `rules` may be those of a policy that has been replaced since.
            guard case .allowed(let present, _) = terms.names.decide(name) else {
                throw EngineError(.forbidden, "the policy has changed")
            }
            for address in addresses {
                // In place: who holds a second copy of thousands of pins makes a third of each change.
                try pin(address.judged, name, present, expires, terms, &state.tenants.values[index])
            }
        }
    }

    private func pin(
        _ address: IPAddress, _ name: String, _ rules: [Int], _ expires: UInt64, _ terms: Terms,
        _ tenant: inout Tenant
    ) throws {
        if tenant.pins[address] == nil, tenant.pins.count >= Self.maximumAddresses {
            prune(&tenant, before: Clock.boottime())
            guard tenant.pins.count < Self.maximumAddresses else {
                throw EngineError(.exhausted, "\(Self.maximumAddresses) addresses are open already")
            }
        }
        let expires = max(tenant.pins[address]?[name] ?? 0, expires)
        let known = tenant.opened[address] ?? Self.rules(tenant.pins[address] ?? [:], terms)
        let opened = PinnedRule.longestLasting(known + terms.pinned(rules, until: expires))
        try hooks.pin(address, opened, of: tenant.identity, policy: terms.map)
        tenant.opened[address] = opened
        crashPoint("names.pinned")
        tenant.pins[address, default: [:]].note(name, until: expires, limit: Self.maximumNames)
        try tenant.log.add(address, name, expires: expires, all: tenant.pins)
    }

    func report(_ query: DNSReport, for client: ResolverClient) {
        let found: (SandboxReference, PolicyReference?, RefusalLog)? = state.withLock { state in
            guard let tenant = state.tenants[client.slot], tenant.identity.epoch == client.epoch else { return nil }
            if query.query.reason == .limitExhausted { state.tenants[client.slot]?.isExhausted = true }
            return (tenant.sandbox, tenant.terms?.reference, tenant.refusals)
        }
        guard let (sandbox, policy, refusals) = found else { return }
        var named = query.query
        named.policy = policy.map { PolicyReference(name: $0.name, generation: $0.generation, rule: query.rule) }
        let event = Event(
            time: Clock.realtime(), seq: hooks.nextSequence(of: client.slot), sandbox: sandbox, body: .dns(named))
        hub.publish(event)
        refusals.add(event)
    }

    func count(_ client: ResolverClient) { hooks.countQuery(of: client.slot) }

    func budget(for client: ResolverClient) -> UInt64? { terms(of: client)?.policy.budgets.dnsQueries }

    func isAudited(_ client: ResolverClient) -> Bool { terms(of: client)?.policy.mode == .audit }

    // MARK: parts

    private func terms(of client: ResolverClient) -> Terms? {
        state.withLock { state in
            guard let tenant = state.tenants[client.slot], tenant.identity.epoch == client.epoch else { return nil }
            return tenant.terms
        }
    }

    /// What an address is open for by all names that have resolved to it.
    private static func rules(_ names: [String: UInt64], _ terms: Terms) -> [PinnedRule] {
        PinnedRule.longestLasting(
            names.flatMap { name, expires -> [PinnedRule] in
                guard case .allowed(let rules, _) = terms.names.decide(name) else { return [] }
                return terms.pinned(rules, until: expires)
            })
    }

    /// What the kernel has been told of the address; nil where that failed.
    private func open(
        _ address: IPAddress, _ names: [String: UInt64], _ terms: Terms, of identity: SandboxIdentity
    ) -> [PinnedRule]? {
        let rules = Self.rules(names, terms)
        guard (try? hooks.pin(address, rules, of: identity, policy: terms.map)) != nil else { return nil }
        return rules
    }

    /// Without the pins that ended before `horizon`, which are let go in the kernel too.
    private func prune(_ tenant: inout Tenant, before horizon: UInt64) {
        for (address, names) in tenant.pins {
            let lasting = names.filter { $0.value > horizon }
            guard lasting.count < names.count else { continue }
            let rules = tenant.terms.flatMap { open(address, lasting, $0, of: tenant.identity) }
            tenant.pins[address] = lasting.isEmpty ? nil : lasting
            tenant.opened[address] = lasting.isEmpty ? nil : rules
        }
    }

    private func unpin(_ addresses: some Sequence<IPAddress>, of identity: SandboxIdentity, _ map: PolicyMap) {
        for address in addresses { try? hooks.pin(address, [], of: identity, policy: map) }
    }
}

extension SandboxNames.Terms {
    /// - Parameter rules: indices into `egress.allow`.
    fileprivate func pinned(_ rules: [Int], until expires: UInt64) -> [PinnedRule] {
        rules.compactMap { rule in
            map.namePorts[rule].map { PinnedRule(expires: expires, portSet: $0, rule: rule) }
        }
    }
}

extension PinnedRule {
    /// Of rules with the same ports the one that lasts longest, and of these the few that the kernel holds. Adding to what came out
    /// before comes to the same as beginning with all.
    static func longestLasting(_ candidates: [PinnedRule]) -> [PinnedRule] {
        var bySet: [Int: PinnedRule] = [:]
        for rule in candidates {
            guard let known = bySet[rule.portSet] else {
                bySet[rule.portSet] = rule
                continue
            }
            if (rule.expires, known.rule) > (known.expires, rule.rule) { bySet[rule.portSet] = rule }
        }
        return Array(bySet.values.sorted { ($0.expires, $1.rule) > ($1.expires, $0.rule) }.prefix(maximum))
    }
}

extension [String: UInt64] {
    /// Of names with their ends: one more, and those that end first go beyond `limit`. Never the one that has just come.
    mutating func note(_ name: String, until expires: UInt64, limit: Int) {
        self[name] = expires
        while count > limit {
            guard let first = lazy.filter({ $0.key != name }).min(by: { ($0.value, $0.key) < ($1.value, $1.key) })
            else { return }
            self[first.key] = nil
        }
    }
}
