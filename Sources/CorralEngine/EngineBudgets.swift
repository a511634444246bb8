internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy

/// Budgets of policies are kept in the kernel and by the resolver; here it is told that one has taken effect.
extension Engine {
    func reportBudgets() {
        for sandbox in live.values {
            guard let budgets = sandbox.applied?.policy.budgets, budgets != EgressBudgets() else { continue }
            let counters = host.provisioner.hooks.counters(of: sandbox.warm.identity.slot)
            let queries = nameService.resolver.queries(of: ResolverClient(sandbox.warm.identity))
            let reached: [(LimitReached.Budget, value: UInt64?, isReached: Bool)] = [
                (.bytes, budgets.bytes, counters.exhaustedBytes > 0),
                (.connections, budgets.connections, counters.exhaustedConnections > 0),
                (.rate, budgets.bitsPerSecond, counters.throttled > 0),
                (
                    .dnsQueries, budgets.dnsQueries,
                    queries >= budgets.dnsQueries ?? .max && names.isExhausted(sandbox.warm.identity)
                ),
            ]
            for (budget, value, isReached) in reached where isReached && value != nil {
                guard sandbox.budgetsReported.insert(budget).inserted else { continue }
                emit(.limit(LimitReached(.budget, budget: budget, value: value)), sandbox)
            }
        }
    }
}

extension ResolverClient {
    init(_ identity: SandboxIdentity) {
        self.init(slot: identity.slot, epoch: identity.epoch)
    }
}
