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
            if let terms {
                for (address, names) in tenant.pins {
                    // One that does not fit any more has to be resolved again.
                    try? hooks.pin(address, Self.rules(names, terms), of: identity, policy: terms.map)
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
            for (slot, tenant) in state.tenants where !tenant.pins.isEmpty {
                state.tenants[slot]?.pins = prune(tenant, before: horizon)
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
            guard var tenant = state.tenants[client.slot], tenant.identity.epoch == client.epoch,
                let terms = tenant.terms
            else { throw EngineError(.notFound, "the sandbox is gone") }
            // `rules` may be those of a policy that has been replaced since.
            guard case .allowed = terms.names.decide(name) else {
                throw EngineError(.forbidden, "the policy has changed")
            }
            for address in addresses.map(\.judged) {
                if tenant.pins[address] == nil, tenant.pins.count >= Self.maximumAddresses {
                    tenant.pins = prune(tenant, before: Clock.boottime())
                    guard tenant.pins.count < Self.maximumAddresses else {
                        throw EngineError(.exhausted, "\(Self.maximumAddresses) addresses are open already")
                    }
                }
                var names = tenant.pins[address] ?? [:]
                names[name] = max(names[name] ?? 0, expires)
                try hooks.pin(address, Self.rules(names, terms), of: tenant.identity, policy: terms.map)
                crashPoint("names.pinned")
                tenant.pins[address] = names
                try tenant.log.add(address, name, expires: expires, all: tenant.pins)
                state.tenants[client.slot] = tenant
            }
        }
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

    /// What an address is open for by all names that have resolved to it: of rules with the same ports the one that
    /// lasts longest, and of all the longest-lasting few that the kernel holds.
    static func rules(_ names: [String: UInt64], _ terms: Terms) -> [PinnedRule] {
        var bySet: [Int: PinnedRule] = [:]
        for (name, expires) in names {
            guard case .allowed(let rules, _) = terms.names.decide(name) else { continue }
            for rule in rules {
                guard let set = terms.map.namePorts[rule] else { continue }
                let candidate = PinnedRule(expires: expires, portSet: set, rule: rule)
                guard let known = bySet[set] else {
                    bySet[set] = candidate
                    continue
                }
                if (expires, -rule) > (known.expires, -known.rule) { bySet[set] = candidate }
            }
        }
        return Array(bySet.values.sorted { ($0.expires, $1.rule) > ($1.expires, $0.rule) }.prefix(PinnedRule.maximum))
    }

    /// The pins of a tenant without those that ended before `horizon`, which are let go in the kernel too.
    private func prune(_ tenant: Tenant, before horizon: UInt64) -> PinLog.Pins {
        var kept: PinLog.Pins = [:]
        for (address, names) in tenant.pins {
            let lasting = names.filter { $0.value > horizon }
            if !lasting.isEmpty { kept[address] = lasting }
            guard lasting.count < names.count, let terms = tenant.terms else { continue }
            try? hooks.pin(address, Self.rules(lasting, terms), of: tenant.identity, policy: terms.map)
        }
        return kept
    }

    private func unpin(_ addresses: some Sequence<IPAddress>, of identity: SandboxIdentity, _ map: PolicyMap) {
        for address in addresses { try? hooks.pin(address, [], of: identity, policy: map) }
    }
}
