internal import CLinux

/// Memory of this process, as its allocator counts. A few microseconds to ask.
public struct Heap: Sendable, Equatable {
    /// Bytes that are allocated.
    public var used: UInt64
    /// Bytes that the allocator holds beside them, given back to the kernel or not.
    public var free: UInt64

    public static var now: Heap {
        let heap = corral_heap()
        return Heap(used: UInt64(heap.used), free: UInt64(heap.free))
    }
}
