internal import CLinux
internal import Dispatch
internal import Glibc
internal import Synchronization

extension SandboxHooks {
    /// Like `apply`, for a slot in which nothing runs yet, under another policy or under none.
    ///
    /// bpf(2) puts the new map in its place and then waits, for milliseconds, until no program can still be using the old one.
    /// Nobody is there who could: this returns as soon as programs that start now find the new policy, which the kernel tells.
    public func applyToUnused(_ policy: PolicyMap, to slot: UInt32) throws(KernelError) {
        let before = try policyIdentifier(of: slot)
        let outcome = Outcome()
        // A serial queue of its own has a thread of its own: each waits for one grace period, and none for another's.
        DispatchQueue(label: "corral.swap").async {
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

    /// The slots are under no policy from here on, which denies. The kernel waits once for all of them.
    func removePolicies(of slots: [UInt32]) {
        var rest = slots[...]
        while !rest.isEmpty {
            var count = UInt32(rest.count)
            let result = rest.withUnsafeBufferPointer { bpf_map_delete_batch(policies, $0.baseAddress, &count, nil) }
            if result == 0 { return }
            // The one after those that were done has no policy, or this kernel does not know the call.
            rest = rest.dropFirst(Int(min(count, UInt32(rest.count))))
            if var slot = rest.popFirst() { _ = bpf_map_delete_elem(policies, &slot) }
        }
    }

    /// The kernel's number of the map that decides for a slot; 0: there is none.
    private func policyIdentifier(of slot: UInt32) throws(KernelError) -> UInt32 {
        var key = slot
        var identifier: UInt32 = 0
        guard bpf_map_lookup_elem(policies, &key, &identifier) == 0 else {
            if errno == ENOENT { return 0 }
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
