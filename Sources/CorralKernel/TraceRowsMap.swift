internal import CLinux
internal import CorralABI
internal import CorralEvents
internal import CorralPolicy
internal import Glibc
internal import Synchronization

/// Rows of counts, in the kernel and in our own memory. Those that are no longer needed serve the next sandbox: to put others
/// in their place would have to wait until no program can be using them, which takes milliseconds.
final class TraceRowsPool: Sendable {
    private struct State {
        var free: [TraceRowsMap] = []
        var made: UInt32 = 0
    }

    private let outer: Int32
    private let state = Mutex(State())

    /// `outer`: the map `trace_rows`, which outlives this object.
    init(outer: Int32) {
        self.outer = outer
    }

    /// All zero. ENOSPC when there are CORRAL_MAX_TRACED.
    func take() throws(KernelError) -> TraceRowsMap {
        let (free, index) = state.withLock { state -> (TraceRowsMap?, UInt32) in
            if let free = state.free.popLast() { return (free, 0) }
            guard state.made < CORRAL_MAX_TRACED else { return (nil, CORRAL_MAX_TRACED) }
            state.made += 1
            return (nil, state.made - 1)
        }
        if let free {
            free.clear()
            return free
        }
        guard index < CORRAL_MAX_TRACED else {
            throw KernelError(
                call: "trace", subject: "sandbox", errno: ENOSPC, detail: "\(CORRAL_MAX_TRACED) are traced already")
        }
        return try TraceRowsMap(index: index, outer: outer)
    }

    func give(back rows: TraceRowsMap) {
        state.withLock { $0.free.append(rows) }
    }
}

/// One set of rows.
///
/// Safety: the memory is written by BPF programs on every CPU; it is touched through atomic operations alone, and mapped
/// until this object goes.
final class TraceRowsMap: @unchecked Sendable {
    private static let stride = MemoryLayout<corral_trace_row>.stride
    private static let size = stride * Int(TraceRows.count)

    let index: UInt32
    private let base: UnsafeMutableRawPointer

    init(index: UInt32, outer: Int32) throws(KernelError) {
        var options = bpf_map_create_opts()
        options.sz = MemoryLayout<bpf_map_create_opts>.size
        options.map_flags = UInt32(BPF_F_MMAPABLE)
        let raw = bpf_map_create(BPF_MAP_TYPE_ARRAY, "trace_rows", 4, UInt32(Self.stride), TraceRows.count, &options)
        guard raw >= 0 else { throw KernelError(call: "bpf_map_create", subject: "trace_rows", errno: errno) }
        // The outer map and the mapping keep it.
        let descriptor = FileDescriptor(owning: raw)
        guard let base = corral_map_shared(descriptor.raw, Self.size, true) else {
            throw KernelError(call: "mmap", subject: "trace_rows", errno: errno)
        }
        self.index = index
        self.base = base
        var key = index
        var value = descriptor.raw
        guard bpf_map_update_elem(outer, &key, &value, 0) == 0 else {
            throw KernelError(call: "bpf_map_update_elem", subject: "trace_rows[\(index)]", errno: errno)
        }
    }

    deinit {
        munmap(base, Self.size)
    }

    private func word(_ row: Int, _ index: Int) -> UnsafeMutableRawPointer { base + row * Self.stride + index * 8 }

    /// Word `index` of `struct corral_trace_row`.
    func load(_ row: Int, _ index: Int) -> UInt64 { corral_atomic_load(word(row, index)) }

    /// Events are made of what is selected, and of nothing else.
    func want(_ selection: TraceSelection) {
        let others =
            switch selection {
            case .first, .firstAnd: CORRAL_WANT_FIRST
            case .none, .counts, .calls, .all: CORRAL_WANT_NONE
            }
        var wanted = [UInt64](repeating: UInt64(others.rawValue), count: Int(TraceRows.count))
        for row in TraceRows.rows(of: selection) where row < TraceRows.count {
            wanted[Int(row)] = UInt64(CORRAL_WANT_EACH.rawValue)
        }
        for (row, want) in wanted.enumerated() { corral_atomic_store(word(row, 4), want) }
    }

    fileprivate func clear() {
        for row in 0..<Int(TraceRows.count) {
            for index in 0..<Self.stride / 8 where load(row, index) != 0 { corral_atomic_store(word(row, index), 0) }
        }
    }
}
