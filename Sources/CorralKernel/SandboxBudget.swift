internal import CLinux
internal import CorralABI
internal import Glibc

/// What a sandbox may use up from its start to its end. Nil: without a limit.
public struct SandboxBudget: Sendable, Equatable {
    /// Bytes that may leave, whole frames counted.
    public var bytes: UInt64?
    /// Flows that may be opened.
    public var connections: UInt64?
    public var bytesPerSecond: UInt64?

    public init(bytes: UInt64? = nil, connections: UInt64? = nil, bytesPerSecond: UInt64? = nil) {
        self.bytes = bytes
        self.connections = connections
        self.bytesPerSecond = bytesPerSecond
    }

    /// A tenth of a second's worth, and at least two of the largest frames that a virtual interface makes.
    fileprivate var burst: UInt64 { max((bytesPerSecond ?? 0) / 10, 2 * 65_550) }
}

extension SandboxHooks {
    /// In force from here on. What was used before counts.
    public func apply(_ budget: SandboxBudget, to slot: UInt32) throws(KernelError) {
        var bytes: [UInt8] = []
        // 0 means without a limit in the kernel; a budget of nothing is one that the first byte exceeds.
        bytes.appendLong(budget.bytes.map { max($0, 1) } ?? 0)
        bytes.appendLong(budget.connections.map { max($0, 1) } ?? 0)
        bytes.appendLong(budget.bytesPerSecond.map { max($0, 1) } ?? 0)
        bytes.appendLong(budget.burst)
        try update("budgets", slot, bytes)
    }

    /// Only for a slot that no hook serves.
    func resetBudget(of slot: UInt32) throws(KernelError) {
        try apply(SandboxBudget(), to: slot)
        try update("buckets", slot, [UInt8](repeating: 0, count: MemoryLayout<corral_bucket>.size))
    }

    func update(_ map: String, _ index: UInt32, _ value: [UInt8]) throws(KernelError) {
        var key: [UInt8] = []
        key.appendWord(index)
        try put(map, key, value, subject: "\(map)[\(index)]")
    }
}
