internal import CLinux
internal import CorralABI
internal import Glibc

/// The counters of one sandbox as they were when read.
public struct CounterValues: Sendable, Equatable {
    public var seq: UInt64
    public var lost: UInt64
    public var allowed: UInt64
    public var denied: UInt64
    public var packetsOut: UInt64
    public var bytesOut: UInt64
    public var packetsIn: UInt64
    public var bytesIn: UInt64
    /// Flows that were opened.
    public var connections: UInt64
    /// Frames dropped by the rate.
    public var throttled: UInt64
    /// Refusals for a budget that is used up.
    public var exhaustedBytes: UInt64
    public var exhaustedConnections: UInt64
    /// That the resolver has counted.
    public var dnsQueries: UInt64
}

/// The map `counters` in our own memory.
///
/// Safety: the memory is written by BPF programs on every CPU; it is touched through atomic operations alone, and mapped
/// until this object goes.
final class CounterPage: @unchecked Sendable {
    private let base: UnsafeMutableRawPointer
    private static let stride = MemoryLayout<corral_counters>.stride
    private static let size = stride * Int(CORRAL_MAX_SLOTS)

    init(map: Int32) throws(KernelError) {
        guard let base = corral_map_shared(map, Self.size, true) else {
            throw KernelError(call: "mmap", subject: "counters", errno: errno)
        }
        self.base = base
    }

    deinit {
        munmap(base, Self.size)
    }

    private func word(_ slot: UInt32, _ offset: Int) -> UnsafeMutableRawPointer {
        precondition(slot < CORRAL_MAX_SLOTS)
        return base + Int(slot) * Self.stride + offset
    }

    func nextSequence(_ slot: UInt32) -> UInt64 {
        corral_atomic_add(word(slot, 0), 1) + 1
    }

    func countQuery(_ slot: UInt32) {
        _ = corral_atomic_add(word(slot, 12 * 8), 1)
    }

    /// Only for a slot that no hook serves.
    func reset(_ slot: UInt32) {
        memset(word(slot, 0), 0, Self.stride)
    }

    func read(_ slot: UInt32) -> CounterValues {
        func load(_ index: Int) -> UInt64 { corral_atomic_load(word(slot, index * 8)) }
        return CounterValues(
            seq: load(0), lost: load(1), allowed: load(2), denied: load(3), packetsOut: load(4), bytesOut: load(5),
            packetsIn: load(6), bytesIn: load(7), connections: load(8), throttled: load(9), exhaustedBytes: load(10),
            exhaustedConnections: load(11), dnsQueries: load(12)
        )
    }
}
