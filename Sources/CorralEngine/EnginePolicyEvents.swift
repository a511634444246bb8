internal import CorralEvents
internal import CorralPolicy

/// What readers are told of policies that are replaced while a sandbox runs.
extension Engine {
    /// Larger policies are not compared: it would take longer than anybody waits for the event.
    private static let mostRules = 10_000

    /// Does not wait: to compare two policies takes longer than to apply one.
    func tell(applied policy: Policy, generation: UInt32, after before: Policy?, of sandbox: LiveSandbox) {
        let old = before ?? Policy(name: "deny-all")
        let rules = [old, policy].reduce(0) { $0 + $1.allow.count + $1.deny.count }
        let (host, compiling) = (policies.host, compiling)
        let reference = PolicyReference(name: policy.name, generation: generation)
        Task {
            let diff =
                rules > Self.mostRules
                ? nil : try? await compiling.run { try PolicyDiff(from: old, to: policy, host: host) }
            // Its slot may be another's by now.
            guard live[sandbox.id] === sandbox, !sandbox.isBeingDestroyed else { return }
            emit(.policy(PolicyChange(applied: reference, diff)), sandbox)
        }
    }

    /// A policy that was to replace the one of a sandbox was refused: `error` says why, in one line.
    public func refused(policy error: String, of reference: String) async {
        guard let sandbox = try? find(reference), !sandbox.isBeingDestroyed else { return }
        let stays = sandbox.applied.map { PolicyReference(name: $0.policy.name, generation: $0.generation) }
        emit(.policy(PolicyChange(.refused(error), policy: stays)), sandbox)
    }
}
