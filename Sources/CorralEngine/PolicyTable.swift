internal import CorralKernel
internal import CorralPolicy

/// The compiled policies of an instance. Sandboxes with equal policies share one map, which lives as long as one of them.
struct PolicyTable {
    private struct Entry {
        weak var map: PolicyMap?
    }

    private var entries: [Policy: Entry] = [:]
    /// 1 is the deny-all policy's.
    private(set) var lastNumber: UInt32 = 1
    /// What is reserved beside the fixed ranges. A map is good only for the host it was compiled for.
    private(set) var host: HostContext

    init(host: HostContext) {
        self.host = host
    }

    /// Nil when it has to be compiled.
    func map(for policy: Policy) -> PolicyMap? { entries[policy]?.map }

    /// Unique in the instance.
    mutating func takeNumber() -> UInt32 {
        lastNumber += 1
        return lastNumber
    }

    /// The map to use: an equal policy's that came first, or `map`. Nil when `host` is no longer the one in force.
    mutating func add(_ map: PolicyMap, for policy: Policy, host: HostContext) -> PolicyMap? {
        guard host == self.host else { return nil }
        if let first = entries[policy]?.map { return first }
        entries = entries.filter { $0.value.map != nil }
        entries[policy] = Entry(map: map)
        return map
    }

    /// Numbers begin above it.
    mutating func begin(above number: UInt32) { lastNumber = max(lastNumber, number) }

    /// False when nothing changes; otherwise every policy has to be compiled anew.
    mutating func change(host: HostContext) -> Bool {
        guard host != self.host else { return false }
        self.host = host
        entries = [:]
        return true
    }
}
