public import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// The engine's past, and what is written down of those who ask it for something.
extension Engine {
    /// Past events that pass the filter, then those from now on; see `events(matching:buffer:)` for these.
    public func events(
        matching filter: EventFilter, from history: HistoryRequest, buffer: Int
    ) async throws -> EventFeed {
        let (past, subscription) = try await open(filter, history, buffer: buffer, records: nil)
        return EventFeed(
            past: { await past.next() }, live: AsyncStream(unfolding: { await subscription.queue.next() }))
    }

    /// The same for a reader that renders records of calls itself.
    /// - Parameter history: nil: events from now on alone.
    public func frames(
        matching filter: EventFilter, from history: HistoryRequest?, buffer: Int
    ) async throws -> FrameFeed {
        guard let history else {
            return FrameFeed(live: EventFrames(hub.open(filter, buffer: buffer, records: .all)))
        }
        let (past, subscription) = try await open(filter, history, buffer: buffer, records: .all)
        return FrameFeed(past: { await past.next() }, live: EventFrames(subscription))
    }

    private func open(
        _ filter: EventFilter, _ history: HistoryRequest, buffer: Int, records: TraceSelection?
    ) async throws -> (past: JournalHistory, Subscription) {
        let (hub, journal) = (hub, journal)
        // Between the mark and the subscription no event can fall.
        nonisolated(unsafe) var live: Subscription?
        let end = await withCheckedContinuation { continuation in
            live = hub.open(filter, buffer: buffer, records: records, mark: continuation)
        }
        guard let live else { throw EngineError(.internal, "no subscription") }
        do {
            return (try await JournalHistory.of(journal.directory, until: end, history, filter: filter), live)
        } catch {
            throw EngineError(.internal, "the audit journal could not be read", detail: ["\(error)"])
        }
    }

    /// Tells readers and the journal what somebody asked for.
    public nonisolated func record(_ audit: AuditRecord, sandbox: SandboxReference? = nil) {
        hub.publish(Event(time: Clock.realtime(), seq: 0, sandbox: sandbox, body: .audit(audit)))
    }
}

extension Requester {
    static var thisProcess: Requester { Requester(uid: getuid(), gid: getgid(), pid: getpid()) }
}
