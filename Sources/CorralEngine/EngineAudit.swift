public import CorralEvents
internal import CorralKernel
internal import Glibc

/// The engine's past, and what is written down of those who ask it for something.
extension Engine {
    /// Past events that pass the filter, then those from now on; see `events(matching:buffer:)` for these.
    public func events(
        matching filter: EventFilter, from history: HistoryRequest, buffer: Int
    ) async throws -> EventFeed {
        let (hub, journal) = (hub, journal)
        // Between the mark and the subscription no event can fall.
        nonisolated(unsafe) var live: AsyncStream<Event>?
        let end = await withCheckedContinuation { continuation in
            live = hub.subscribe(filter, buffer: buffer, mark: continuation)
        }
        guard let live else { throw EngineError(.internal, "no subscription") }
        let past: JournalHistory
        do {
            past = try await JournalHistory.of(journal.directory, until: end, history, filter: filter)
        } catch {
            throw EngineError(.internal, "the audit journal could not be read", detail: ["\(error)"])
        }
        return EventFeed(past: { await past.next() }, live: live)
    }

    /// Tells readers and the journal what somebody asked for.
    public nonisolated func record(_ audit: AuditRecord, sandbox: SandboxReference? = nil) {
        hub.publish(Event(time: Clock.realtime(), seq: 0, sandbox: sandbox, body: .audit(audit)))
    }
}

extension Requester {
    static var thisProcess: Requester { Requester(uid: getuid(), gid: getgid(), pid: getpid()) }
}
