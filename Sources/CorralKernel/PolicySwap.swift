internal import CLinux
internal import Dispatch
internal import Glibc
internal import Synchronization

extension SandboxHooks {
    /// Each waits for its own grace period, and none for another's.
    private static let swaps = DispatchQueue(label: "corral.swap", attributes: .concurrent)

    /// Like `apply`, for a slot that is under another policy and in which nothing runs yet.
    ///
    /// bpf(2) puts the new map in its place and then waits, for milliseconds, until no program can still be using the old one.
    /// Nobody is there who could: this returns as soon as programs that start now find the new policy, which the kernel tells.
    public func applyToUnused(_ policy: PolicyMap, to slot: UInt32) throws(KernelError) {
        let before = try policyIdentifier(of: slot)
        let outcome = Outcome()
        Self.swaps.async {
            do throws(KernelError) {
                try self.apply(policy, to: slot)
                outcome.set(.success(()))
            } catch {
                outcome.set(.failure(error))
            }
        }
        var looks = 0
        while try policyIdentifier(of: slot) == before {
            if let result = outcome.result { return try result.get() }
            looks += 1
            if looks < 100 { sched_yield() } else { usleep(50) }
        }
    }

    /// The kernel's number of the map that decides for a slot.
    private func policyIdentifier(of slot: UInt32) throws(KernelError) -> UInt32 {
        var key = slot
        var identifier: UInt32 = 0
        guard bpf_map_lookup_elem(policies, &key, &identifier) == 0 else {
            throw KernelError(call: "bpf_map_lookup_elem", subject: "policies[\(slot)]", errno: errno)
        }
        return identifier
    }

    private final class Outcome: Sendable {
        private let value = Mutex<Result<Void, KernelError>?>(nil)

        var result: Result<Void, KernelError>? { value.withLock { $0 } }
        func set(_ result: Result<Void, KernelError>) { value.withLock { $0 = result } }
    }
}
