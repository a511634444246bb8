internal import CorralEvents
internal import CorralKernel
internal import Dispatch
internal import Synchronization

/// The audit journal: takes events from any thread without waiting, and writes them on a queue of its own.
///
/// When events come faster than they can be written, those that do not fit are counted by sandbox and stated in the journal;
/// one sandbox cannot take more than its share of the queue from the others.
final class Journal: Sendable {
    /// How far a reader of files may read.
    struct Position: Sendable, Equatable {
        /// The last record that is written.
        var record: UInt64
        /// Events that came before and cannot be written at present.
        var unwritten: UInt64
    }

    private enum Entry: Sendable {
        case event(Event)
        case mark(CheckedContinuation<Position, Never>)
    }

    private struct Queue: Sendable {
        var entries: [Entry] = []
        var held: [String: Int] = [:]
        var lost: [SandboxReference?: UInt64] = [:]
        var lostTotal: UInt64 = 0
        var allowance: JournalAllowance
        /// By sandbox, and in all.
        var beyondShare: [SandboxReference: UInt64] = [:]
        var beyondShareTotal: UInt64 = 0
        var isDraining = false
        var isClosed = false

        init(_ configuration: JournalConfiguration) {
            allowance = JournalAllowance(burst: configuration.sandboxBurst, rate: configuration.sandboxRate)
        }

        /// What a sandbox could not have written is told by one record for all of it.
        mutating func tellBeyondShare(of sandbox: SandboxReference, at time: Int64) {
            guard let count = beyondShare.removeValue(forKey: sandbox) else { return }
            entries.append(
                .event(Event(time: time, seq: 0, sandbox: sandbox, body: .lost(Loss(count: count, place: .share)))))
        }
    }

    let directory: JournalDirectory
    private let configuration: JournalConfiguration
    private let now: @Sendable () -> Int64
    private let report: @Sendable (String) -> Void
    private let pending: Mutex<Queue>
    private let writer: Mutex<JournalWriter>
    private let latest = Mutex(JournalStatistics())
    private let queue = DispatchQueue(label: "corral.journal")
    private let wasFailing = Mutex(false)

    /// Blocks. A journal that cannot be written now is tried again each second, and `report` is told when it fails and when
    /// it works again.
    init(
        directory: String, _ configuration: JournalConfiguration,
        now: @escaping @Sendable () -> Int64 = { Clock.realtime() }, report: @escaping @Sendable (String) -> Void
    ) {
        self.directory = JournalDirectory(path: directory)
        self.configuration = configuration
        self.now = now
        self.report = report
        pending = Mutex(Queue(configuration))
        writer = Mutex(JournalWriter(self.directory, configuration, now: now))
        queue.sync {
            writer.withLock { writer in
                writer.open()
                writer.flush()
            }
            tell()
        }
        scheduleTick()
    }

    private func scheduleTick() {
        queue.asyncAfter(deadline: .now() + .seconds(1)) { [weak self] in
            guard let self, !pending.withLock({ $0.isClosed }) else { return }
            tick()
            scheduleTick()
        }
    }

    var statistics: JournalStatistics {
        var statistics = latest.withLock { $0 }
        pending.withLock { queue in
            statistics.queued = queue.entries.count
            statistics.beyondShare = queue.beyondShareTotal
            statistics.lost &+= queue.lostTotal
        }
        return statistics
    }

    /// Does not wait.
    func append(_ event: Event) {
        add { queue in
            let sandbox = event.sandbox?.id ?? ""
            if let reference = event.sandbox {
                if event.isOfItsOwnMaking, !queue.allowance.take(sandbox, at: now()) {
                    queue.beyondShare[reference, default: 0] += 1
                    queue.beyondShareTotal &+= 1
                    return
                }
                if case .sandbox(.destroyed) = event.body {
                    queue.tellBeyondShare(of: reference, at: event.time)
                    queue.allowance.forget(sandbox)
                }
            }
            let held = queue.held[sandbox, default: 0]
            guard queue.entries.count < configuration.queueLimit, sandbox.isEmpty || held < configuration.queueShare
            else {
                queue.lost[event.sandbox, default: 0] += 1
                queue.lostTotal += 1
                return
            }
            queue.held[sandbox] = held + 1
            queue.entries.append(.event(event))
        }
    }

    /// Tells `continuation` how far the files reach once all that was appended before is written, or cannot be.
    func mark(_ continuation: CheckedContinuation<Position, Never>) {
        add { $0.entries.append(.mark(continuation)) }
        // While nothing can be written nobody looks at the queue.
        queue.async { self.drain() }
    }

    private func add(_ body: (inout Queue) -> Void) {
        let isFirst = pending.withLock { queue in
            guard !queue.isClosed else {
                // The daemon is about to end: readers get what there is.
                var refused = Queue(configuration)
                body(&refused)
                for case .mark(let continuation) in refused.entries {
                    continuation.resume(returning: Position(record: 0, unwritten: 0))
                }
                return false
            }
            body(&queue)
            defer { queue.isDraining = true }
            return !queue.isDraining
        }
        if isFirst { queue.async { self.drain() } }
    }

    private func drain() {
        Scheduling.becomeBackground()
        while true {
            if writer.withLock({ $0.isFailing }) { return pause() }
            let (entries, losses) = pending.withLock { queue in
                let taken = (queue.entries, queue.lost.map { ($0.key, $0.value) })
                queue.entries = []
                queue.held.removeAll(keepingCapacity: true)
                queue.lost = [:]
                queue.lostTotal = 0
                queue.isDraining = !taken.0.isEmpty || !taken.1.isEmpty
                return taken
            }
            if entries.isEmpty, losses.isEmpty { return }
            var marks: [(CheckedContinuation<Position, Never>, UInt64)] = []
            let (written, unwritten) = writer.withLock { writer in
                for entry in entries {
                    switch entry {
                    case .event(let event): writer.append(event)
                    case .mark(let continuation): marks.append((continuation, writer.last))
                    }
                }
                writer.lose(losses)
                writer.flush()
                return (writer.written.number, writer.unwritten)
            }
            for (continuation, last) in marks {
                let record = min(last, written)
                continuation.resume(
                    returning: Position(record: record, unwritten: unwritten > 0 ? last - record : 0))
            }
            tell()
        }
    }

    /// Nothing can be written: the queue fills, and those who ask are told so.
    private func pause() {
        let (written, unwritten) = writer.withLock { ($0.written.number, $0.unwritten) }
        let (marks, lost) = pending.withLock { queue in
            var marks: [(CheckedContinuation<Position, Never>, UInt64)] = []
            var events: UInt64 = 0
            queue.entries.removeAll { entry in
                guard case .mark(let continuation) = entry else {
                    events += 1
                    return false
                }
                marks.append((continuation, events))
                return true
            }
            return (marks, queue.lostTotal)
        }
        writer.withLock { $0.note(lost: lost) }
        for (continuation, before) in marks {
            continuation.resume(returning: Position(record: written, unwritten: unwritten + before))
        }
    }

    private func tick() {
        let lost = pending.withLock { queue in
            queue.isDraining = true
            let time = now()
            for sandbox in queue.beyondShare.keys { queue.tellBeyondShare(of: sandbox, at: time) }
            return queue.lostTotal
        }
        writer.withLock { writer in
            writer.note(lost: lost)
            writer.tick()
        }
        tell()
        drain()
    }

    /// Publishes the counts, and tells of a failure once and of its end.
    private func tell() {
        let (statistics, error) = writer.withLock { ($0.statistics, $0.error) }
        latest.withLock { $0 = statistics }
        let before = wasFailing.withLock { failing in
            defer { failing = error != nil }
            return failing
        }
        if let error, !before {
            report("the audit journal cannot be written, trying again each second: \(error)")
        } else if error == nil, before {
            report("the audit journal is written again")
        }
    }

    /// Writes what there is, `last` behind it, and takes nothing any more. Blocks.
    func close(with last: Event) {
        pending.withLock { queue in
            for sandbox in queue.beyondShare.keys { queue.tellBeyondShare(of: sandbox, at: last.time) }
        }
        append(last)
        pending.withLock { $0.isClosed = true }
        queue.sync {
            writer.withLock { $0.retry() }
            drain()
            let (unwritten, error) = writer.withLock { writer in
                writer.close()
                return (writer.unwritten, writer.error)
            }
            tell()
            let waiting = pending.withLock { UInt64($0.entries.count) &+ $0.lostTotal }
            if let error, unwritten &+ waiting > 0 {
                report("\(unwritten &+ waiting) events could not be written to the audit journal: \(error)")
            }
        }
    }
}

extension Event {
    /// Told in numbers that the sandbox decides: of these it has a share of the journal.
    fileprivate var isOfItsOwnMaking: Bool {
        switch type {
        case .egress, .ingress, .dns, .process, .file: true
        case .sandbox, .syscall, .limit, .policy, .lost, .audit, .gap: false
        }
    }
}
