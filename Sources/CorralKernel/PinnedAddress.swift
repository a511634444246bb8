internal import CLinux
internal import CorralABI
public import CorralPolicy
internal import Glibc

/// What a name's rule gives an address that the name has resolved to.
public struct PinnedRule: Sendable, Hashable {
    /// CLOCK_BOOTTIME, nanoseconds. Not 0.
    public var expires: UInt64
    /// Index into the port sets of the policy.
    public var portSet: Int
    /// Index into `egress.allow`.
    public var rule: Int

    public init(expires: UInt64, portSet: Int, rule: Int) {
        self.expires = expires
        self.portSet = portSet
        self.rule = rule
    }

    /// Rules that one address carries at once (CORRAL_PIN_RULES).
    public static let maximum = 4
}

extension SandboxHooks {
    /// Replaces what is pinned for an address of one sandbox under one policy; in force when this returns. No rules: the
    /// address is let go. Throws E2BIG beyond `PinnedRule.maximum` rules, ENOSPC when the table of all sandboxes is full.
    public func pin(
        _ address: IPAddress, _ rules: [PinnedRule], of identity: SandboxIdentity, policy: PolicyMap
    ) throws(KernelError) {
        let key = Self.pinKey(address, identity, policy)
        guard !rules.isEmpty else { return remove("pins", key) }
        guard rules.count <= PinnedRule.maximum else {
            throw KernelError(call: "bpf_map_update_elem", subject: "pins[\(address)]", errno: E2BIG)
        }
        var value: [UInt8] = []
        for rule in rules {
            value.appendLong(rule.expires)
            value.appendWord(UInt32(truncatingIfNeeded: rule.portSet))
            value.appendWord(UInt32(truncatingIfNeeded: rule.rule))
        }
        value.append(contentsOf: repeatElement(0, count: MemoryLayout<corral_pin>.size - value.count))
        try put("pins", key, value, subject: "pins[\(address)]")
    }

    private static func pinKey(_ address: IPAddress, _ identity: SandboxIdentity, _ policy: PolicyMap) -> [UInt8] {
        var key = identity.keyPrefix
        key.appendWord(policy.number)
        key.append(contentsOf: address.networkBytes)
        return key
    }
}
