public import CorralEvents
internal import CorralKernel
public import CorralPolicy

/// How often a sandbox has called one system call.
public struct SyscallUse: Sendable, Equatable {
    public var name: String
    public var abi: SyscallABI
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

/// What a sandbox does, for as long as the caller reads it.
public struct TraceFeed: Sendable {
    /// `syscall` events of the calls asked for, `process` events, the sandbox's own, and losses. Ends with the sandbox.
    public let events: AsyncStream<Event>
    /// The same as frames; one of the two is read.
    public let frames: EventFrames
    /// Calls since this feed began, the most frequent first.
    public let counts: @Sendable () -> [SyscallUse]

    public init(
        events: AsyncStream<Event>, frames: EventFrames, counts: @escaping @Sendable () -> [SyscallUse]
    ) {
        self.events = events
        self.frames = frames
        self.counts = counts
    }
}

/// The trace of system calls. Loaded when the first sandbox asks for it, attached while one does.
extension Engine {
    /// What a policy and those who watch ask for together.
    private func selection(of sandbox: LiveSandbox) -> TraceSelection {
        sandbox.watchers.values.reduce(sandbox.applied?.policy.trace ?? .none) { $0.union($1.selection) }
    }

    /// Call it before anything that `retrace` may have to switch on.
    func prepareTrace(for selection: TraceSelection) async throws {
        guard selection != .none, trace == nil else { return }
        let (host, router) = (host, TraceRouter(hub))
        let loaded: SyscallTrace
        do {
            loaded = try await making.run {
                try host.loadTrace(
                    deliver: { result in
                        switch result {
                        case .success(let record): router.receive(record)
                        case .failure(let error): host.report("a record of the trace could not be read: \(error)")
                        }
                    }, endBatch: router.endBatch)
            }
        } catch {
            throw EngineError(.internal, "system calls cannot be traced", detail: ["\(error)"])
        }
        // Another may have been faster.
        if trace == nil { trace = loaded } else { loaded.close() }
    }

    /// Puts in force what is asked for now.
    func retrace(_ sandbox: LiveSandbox) throws {
        guard let trace else { return }
        do {
            try trace.select(
                selection(of: sandbox), slot: sandbox.warm.identity.slot, initPid: sandbox.warm.hostPid,
                cgroup: sandbox.warm.cgroup.id)
        } catch {
            throw EngineError(.internal, "system calls cannot be traced", detail: ["\(error)"])
        }
    }

    /// Ends the trace of a sandbox whose processes are gone, once all that it did has been told.
    func endTrace(of sandbox: WarmSandbox) async {
        guard let trace else { return }
        trace.stop(sandbox.identity.slot)
        await trace.settle()
    }

    /// Calls since the trace was switched on, the most frequent first; nil while the sandbox is not traced.
    public func syscalls(of reference: String) async throws -> [SyscallUse]? {
        trace?.tally(of: try find(reference).warm.identity.slot)?.uses
    }

    /// Traces a sandbox for as long as the feed is read, whatever its policy asks for. The feed ends with the command.
    /// - Parameter asRecords: the feed has calls as the kernel's records, and is read by `frames`.
    public func trace(
        _ reference: String, _ selection: TraceSelection, buffer: Int, asRecords: Bool
    ) async throws -> TraceFeed {
        _ = try find(reference)
        try await prepareTrace(for: selection)
        let sandbox = try find(reference)
        if case .exited = sandbox.state {
            throw EngineError(.conflict, "the command of sandbox \(sandbox.name) has ended")
        }
        let id = sandbox.id
        let subscription = hub.open(
            EventFilter(sandboxes: [id], types: [.syscall, .process, .sandbox]), buffer: buffer,
            records: asRecords ? selection : nil)
        nextWatcher += 1
        let number = nextWatcher
        sandbox.watchers[number] = LiveSandbox.Watcher(selection: selection, queue: subscription.queue)
        do {
            try retrace(sandbox)
        } catch {
            sandbox.watchers[number] = nil
            throw error
        }
        let tally = trace?.tally(of: sandbox.warm.identity.slot)
        let before = tally?.uses ?? []
        let watch = TraceWatch { [weak self] in
            Task { await self?.unwatch(number, id) }
        }
        return TraceFeed(
            events: AsyncStream(unfolding: {
                _ = watch
                while let event = await subscription.queue.next() {
                    if let call = event.syscall, !selection.includes(call.name, call.abi) { continue }
                    return event
                }
                return nil
            }),
            frames: EventFrames(subscription, keeping: watch),
            counts: { tally?.uses.since(before) ?? [] }
        )
    }

    private func unwatch(_ number: UInt64, _ id: String) {
        guard let sandbox = live[id], sandbox.watchers.removeValue(forKey: number) != nil else { return }
        // What cannot be narrowed goes on as it was.
        try? retrace(sandbox)
    }

    /// Ends the feeds of a sandbox whose command has ended, once they hold all that it did.
    func finishWatchers(of sandbox: LiveSandbox) {
        guard let trace, !sandbox.watchers.isEmpty else { return }
        let (queues, cgroup) = (sandbox.watchers.values.map(\.queue), sandbox.warm.cgroup)
        Task {
            // What the command left behind is being killed.
            for _ in 0..<100 where cgroup.isPopulated { await pause(milliseconds: 2) }
            await trace.settle()
            reportKernelLosses()
            for queue in queues { queue.finish() }
        }
    }
}

extension SyscallTally {
    fileprivate var uses: [SyscallUse] {
        counts().map {
            SyscallUse(
                name: $0.name, abi: $0.abi, calls: $0.calls, errors: $0.errors, refused: $0.refused,
                duration: $0.duration)
        }
    }
}

extension [SyscallUse] {
    /// What has come since `before`.
    func since(_ before: [SyscallUse]) -> [SyscallUse] {
        let earlier = Dictionary(before.map { ("\($0.abi.rawValue) \($0.name)", $0) }) { first, _ in first }
        return compactMap { now in
            guard let then = earlier["\(now.abi.rawValue) \(now.name)"] else { return now }
            guard now.calls > then.calls else { return nil }
            return SyscallUse(
                name: now.name, abi: now.abi, calls: now.calls &- then.calls, errors: now.errors &- then.errors,
                refused: now.refused &- then.refused, duration: now.duration &- then.duration)
        }
    }
}

/// Calls back when the last reader lets go.
private final class TraceWatch: Sendable {
    private let onEnd: @Sendable () -> Void

    init(onEnd: @escaping @Sendable () -> Void) {
        self.onEnd = onEnd
    }

    deinit {
        onEnd()
    }
}
