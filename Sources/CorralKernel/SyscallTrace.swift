internal import CLinux
internal import CorralABI
public import CorralEvents
public import CorralPolicy
internal import Glibc
internal import Synchronization

/// How often a sandbox has called one system call since its trace was switched on.
public struct SyscallCount: Sendable, Equatable {
    public var name: String
    public var abi: SyscallABI
    /// That have returned, or cannot return.
    public var calls: UInt64
    public var errors: UInt64
    /// Refused by seccomp; in `errors` too.
    public var refused: UInt64
    /// Nanoseconds that they took together.
    public var duration: UInt64

    public init(name: String, abi: SyscallABI, calls: UInt64, errors: UInt64, refused: UInt64, duration: UInt64) {
        self.name = name
        self.abi = abi
        self.calls = calls
        self.errors = errors
        self.refused = refused
        self.duration = duration
    }
}

/// The trace of an instance: its programs, attached while at least one sandbox is traced, and the reader of their ring.
public final class SyscallTrace: Sendable {
    private struct State {
        /// By slot: those that are traced.
        var sessions: [UInt32: SyscallTally] = [:]
        /// By slot: their cgroups.
        var cgroups: [UInt32: UInt64] = [:]
        var links: [SharedDescriptor] = []
    }

    private let object: BpfObject
    private let traces: TracePage
    private let tracedCgroups: Int32
    private let nearThreads: Int32
    private let pool: TraceRowsPool
    private let ring: TraceRing
    private let state = Mutex(State())

    /// In the order in which they are attached: the end of a call before its beginning would be taken for a refusal.
    /// A second name is that of earlier kernels.
    private static let programs: [(name: String, tracepoints: [String])] = [
        ("begin_call", ["sys_enter"]), ("end_call", ["sys_exit"]), ("executed", ["sched_process_exec"]),
        ("forked", ["sched_process_fork"]), ("exited", ["sched_process_exit"]),
        ("submitted", ["io_uring_submit_req", "io_uring_submit_sqe"]),
    ]
    /// A kernel without io_uring has nothing to tell of it.
    private static let optionalProgram = "submitted"

    /// Loads the programs; none is attached yet. `deliver` runs on the reader's thread and must not block; the record's
    /// bytes are gone when it returns. `endBatch` runs there too, behind those that came together.
    public init(
        programs: BpfPrograms, deliver: @escaping @Sendable (Result<WireTrace, WireError>) -> Void,
        endBatch: @escaping @Sendable () -> Void = {}
    ) throws(KernelError) {
        object = try programs.loadTrace()
        pool = TraceRowsPool(outer: try object.map("trace_rows"))
        traces = try TracePage(map: object.map("traces"))
        tracedCgroups = try object.map("traced_cgroups")
        nearThreads = try object.map("near_threads")
        let plans = try object.map("trace_plans")
        for plan in TraceRows.plans {
            var key = plan.row
            let result = plan.bytes.withUnsafeBytes { bpf_map_update_elem(plans, &key, $0.baseAddress, 0) }
            guard result == 0 else {
                throw KernelError(call: "bpf_map_update_elem", subject: "trace_plans[\(key)]", errno: errno)
            }
        }
        ring = try TraceRing(map: object.map("trace"), traces: traces, deliver: deliver, endBatch: endBatch)
    }

    /// Traces a sandbox, or changes what is told of it. `.none` ends it. ENOSPC: too many are traced.
    /// - Parameters:
    ///   - initPid: host pid of its pid 1, whose own calls are not traced.
    ///   - cgroup: number of its cgroup.
    public func select(
        _ selection: TraceSelection, slot: UInt32, initPid: Int32, cgroup: UInt64
    ) throws(KernelError) {
        guard selection != .none else { return stop(slot) }
        // Closures of the mutex cannot throw a typed error.
        let result = state.withLock { state -> Result<Void, KernelError> in
            do throws(KernelError) {
                let session: SyscallTally
                if let running = state.sessions[slot] {
                    session = running
                } else {
                    session = SyscallTally(try pool.take(), of: pool)
                    state.sessions[slot] = session
                    try add(cgroup, slot, &state)
                }
                session.rows.want(selection)
                share(state)
                traces.start(slot, events: selection != .counts, initPid: initPid, rows: session.rows.index)
                if state.links.isEmpty {
                    try attach(&state)
                    ring.resume()
                }
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        if case .failure(let error) = result {
            stop(slot)
            throw error
        }
    }

    /// Ends the trace of a sandbox; of one that is not traced, too.
    public func stop(_ slot: UInt32) {
        state.withLock { state in
            guard state.sessions.removeValue(forKey: slot) != nil else { return }
            traces.stop(slot)
            remove(slot, &state)
            share(state)
            if state.sessions.isEmpty {
                // The other way round: no end is seen without its beginning.
                while state.links.popLast() != nil {}
                ring.pause()
            }
        }
    }

    private static func bucket(_ cgroup: UInt64) -> UInt32 {
        UInt32(truncatingIfNeeded: cgroup) % UInt32(CORRAL_TRACED_CGROUPS)
    }

    private func add(_ cgroup: UInt64, _ slot: UInt32, _ state: inout State) throws(KernelError) {
        try mark(Self.bucket(cgroup), 1)
        state.cgroups[slot] = cgroup
    }

    private func remove(_ slot: UInt32, _ state: inout State) {
        guard let cgroup = state.cgroups.removeValue(forKey: slot) else { return }
        let bucket = Self.bucket(cgroup)
        guard !state.cgroups.values.contains(where: { Self.bucket($0) == bucket }) else { return }
        // One that stays costs its cgroup a look-up.
        try? mark(bucket, 0)
    }

    private func mark(_ bucket: UInt32, _ value: UInt32) throws(KernelError) {
        var (key, value) = (bucket, value)
        guard bpf_map_update_elem(tracedCgroups, &key, &value, 0) == 0 else {
            throw KernelError(call: "bpf_map_update_elem", subject: "traced_cgroups[\(bucket)]", errno: errno)
        }
    }

    /// Gives each sandbox its part of the ring. All parts together are less than the ring, so that it is never full: a sandbox
    /// that fills its own loses its own records, and nobody else's.
    private func share(_ state: borrowing State) {
        let quota = TracePage.quota(of: state.sessions.count)
        for slot in state.sessions.keys { traces.allow(quota, to: slot) }
    }

    /// Threads may have ended while no program was there to see it, and their entries would be taken for good.
    private func forgetThreads() throws(KernelError) {
        // The kernel reads as much as the map's values have.
        let zero = [UInt8](repeating: 0, count: 4096)
        for index in 0..<CORRAL_NEAR_THREADS {
            var key = index
            guard zero.withUnsafeBytes({ bpf_map_update_elem(nearThreads, &key, $0.baseAddress, 0) }) == 0 else {
                throw KernelError(call: "bpf_map_update_elem", subject: "near_threads[\(index)]", errno: errno)
            }
        }
    }

    private func attach(_ state: inout State) throws(KernelError) {
        try forgetThreads()
        for (name, tracepoints) in Self.programs {
            do {
                let link = try attach(name, to: tracepoints)
                state.links.append(SharedDescriptor(link))
            } catch let error where name == Self.optionalProgram && error.errno == ENOENT {
                continue
            } catch {
                state.links = []
                throw error
            }
        }
    }

    private func attach(_ name: String, to tracepoints: [String]) throws(KernelError) -> FileDescriptor {
        let program = try object.program(name)
        var failure: Int32 = ENOENT
        for tracepoint in tracepoints where failure == ENOENT {
            let link = bpf_raw_tracepoint_open(tracepoint, program)
            if link >= 0 { return FileDescriptor(owning: link) }
            failure = errno
        }
        throw KernelError(
            call: "BPF_RAW_TRACEPOINT_OPEN", subject: tracepoints.joined(separator: ", "), errno: failure)
    }

    public var tracedCount: Int { state.withLock { $0.sessions.count } }

    /// Runs that the kernel left out are calls and processes that nobody counted.
    public func programRuns() -> [ProgramRuns] {
        Self.programs.compactMap { name, _ in
            (try? object.program(name)).flatMap { try? ProgramRuns(name, $0) }
        }
    }

    public var isAttached: Bool { state.withLock { !$0.links.isEmpty } }

    /// Of the session that runs; nil while the sandbox is not traced. Good after its end, too.
    public func tally(of slot: UInt32) -> SyscallTally? {
        state.withLock { $0.sessions[slot] }
    }

    /// Returns once every record that was written before the call has been delivered.
    public func settle() async {
        await ring.settle()
    }

    /// Detaches everything, delivers what is left, and ends the reader.
    public func close() {
        for slot in state.withLock({ Array($0.sessions.keys) }) { stop(slot) }
        ring.stop()
    }
}

/// The counts of one traced sandbox, from when its trace was switched on.
public final class SyscallTally: Sendable {
    fileprivate let rows: TraceRowsMap
    private let pool: TraceRowsPool

    fileprivate init(_ rows: TraceRowsMap, of pool: TraceRowsPool) {
        self.rows = rows
        self.pool = pool
    }

    deinit {
        pool.give(back: rows)
    }

    /// Calls that were made at least once, the most frequent first.
    public func counts() -> [SyscallCount] {
        var counts: [SyscallCount] = []
        for row in 0..<Int(TraceRows.count) {
            let calls = rows.load(row, 0)
            guard calls > 0 else { continue }
            let call = TraceRows.call(of: UInt32(row)) ?? ("others", TraceRows.nativeABI)
            counts.append(
                SyscallCount(
                    name: call.name, abi: call.abi, calls: calls, errors: rows.load(row, 1),
                    refused: rows.load(row, 2), duration: rows.load(row, 3)))
        }
        return counts.sorted { ($1.calls, $0.name) < ($0.calls, $1.name) }
    }
}

/// The map `traces` in our own memory.
///
/// Safety: as `TraceRowsMap`.
final class TracePage: @unchecked Sendable {
    private static let stride = MemoryLayout<corral_trace>.stride
    private static let size = stride * Int(CORRAL_MAX_SLOTS)
    private static let consumed = offset(\.consumed), produced = offset(\.produced), quota = offset(\.quota)
    private static let mode = offset(\.mode), initPid = offset(\.`init`)

    /// Bytes of the ring that one of `number` sandboxes may fill. Those of one part more stay free: what two CPUs add at the
    /// same moment may be more than is left, and a sandbox whose part has just become smaller may still fill the larger one.
    static func quota(of number: Int) -> UInt64 {
        UInt64(CORRAL_TRACE_RING_BYTES) / UInt64(max(1, number) + 1)
    }

    private let base: UnsafeMutableRawPointer

    private static func offset(_ field: PartialKeyPath<corral_trace>) -> Int {
        MemoryLayout<corral_trace>.offset(of: field) ?? 0
    }

    init(map: Int32) throws(KernelError) {
        guard let base = corral_map_shared(map, Self.size, true) else {
            throw KernelError(call: "mmap", subject: "traces", errno: errno)
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

    /// A sandbox that is traced already keeps its session.
    func start(_ slot: UInt32, events: Bool, initPid: Int32, rows: UInt32) {
        let before = corral_atomic_load(word(slot, Self.mode))
        var session = before >> 32
        if before & 0xffff_ffff == UInt64(CORRAL_TRACE_OFF.rawValue) { session = (session + 1) & 0xffff_ffff }
        corral_atomic_store(word(slot, Self.initPid), UInt64(rows) << 32 | UInt64(UInt32(bitPattern: initPid)))
        let mode = events ? CORRAL_TRACE_EVENTS : CORRAL_TRACE_COUNTS
        corral_atomic_store(word(slot, Self.mode), session << 32 | UInt64(mode.rawValue))
    }

    func allow(_ bytes: UInt64, to slot: UInt32) {
        corral_atomic_store(word(slot, Self.quota), bytes)
    }

    func stop(_ slot: UInt32) {
        let session = corral_atomic_load(word(slot, Self.mode)) >> 32
        corral_atomic_store(word(slot, Self.mode), session << 32 | UInt64(CORRAL_TRACE_OFF.rawValue))
    }

    /// Tells the programs that this much has been taken out of the ring.
    func consume(_ bytes: UInt64, of slot: UInt32) {
        guard slot < CORRAL_MAX_SLOTS else { return }
        _ = corral_atomic_add(word(slot, Self.consumed), bytes)
    }
}
