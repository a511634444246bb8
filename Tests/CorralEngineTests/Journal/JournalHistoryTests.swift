import CorralEvents
import CorralPolicy
import Testing

@testable import CorralEngine

@Suite struct JournalHistoryTests {
    private func read(_ history: JournalHistory) async throws -> [Event] {
        var events: [Event] = []
        while let lines = await history.next() {
            #expect(lines.last == 10)
            for line in lines.split(separator: 10) { events.append(try Event(json: Array(line))) }
        }
        return events
    }

    private func history(
        _ place: JournalPlace, _ journal: Journal, since: Int64? = nil, last: Int? = nil,
        matching filter: EventFilter = EventFilter()
    ) async throws -> [Event] {
        let end = await place.settle(journal)
        return try await read(
            try await .of(
                place.directory, until: end, HistoryRequest(since: since, last: last), filter: filter))
    }

    private func filled(_ place: JournalPlace) async -> Journal {
        let journal = place.journal(JournalConfiguration(fileBytes: 4096))
        for seq in UInt64(1)...100 {
            journal.append(JournalPlace.event(seq, sandbox: seq % 3 == 0 ? "sb-c" : "sb-a"))
            if seq % 7 == 0 { _ = await place.settle(journal) }
        }
        return journal
    }

    @Test func allSinceAndLast() async throws {
        let place = try JournalPlace()
        let journal = await filled(place)
        #expect(try await history(place, journal).map(\.seq) == Array(1...100))
        let since = JournalPlace.event(91).time
        #expect(try await history(place, journal, since: since).map(\.seq) == Array(91...100))
        #expect(try await history(place, journal, last: 5).map(\.seq) == Array(96...100))
        #expect(try await history(place, journal, last: 0).isEmpty)
        #expect(try await history(place, journal, last: 1_000_000).count == 100)
        #expect(try await history(place, journal, since: since, last: 3).map(\.seq) == [98, 99, 100])
        #expect(try await history(place, journal, since: since, last: 50).map(\.seq) == Array(91...100))
        let filter = EventFilter(sandboxes: ["sb-c"])
        #expect(try await history(place, journal, last: 3, matching: filter).map(\.seq) == [93, 96, 99])
        #expect(try await history(place, journal, matching: filter).count == 33)
        #expect(try await history(place, journal, matching: EventFilter(sandboxes: ["sb-x"])).isEmpty)
        journal.close(with: JournalPlace.stop)
    }

    @Test func linesAreThoseOfLiveEvents() async throws {
        let place = try JournalPlace()
        let journal = place.journal()
        let event = JournalPlace.event(1, command: ["echo", "\u{1b}[2J \",\"record\":1"])
        journal.append(event)
        let end = await place.settle(journal)
        let history = try await JournalHistory.of(
            place.directory, until: end, HistoryRequest(), filter: EventFilter())
        #expect(await history.next() == event.jsonLine)
        #expect(await history.next() == nil)
    }

    @Test func nothingIsReadBehindTheMark() async throws {
        let place = try JournalPlace()
        let journal = place.journal()
        journal.append(JournalPlace.event(1))
        let end = await place.settle(journal)
        journal.append(JournalPlace.event(2))
        _ = await place.settle(journal)
        let history = try await JournalHistory.of(
            place.directory, until: end, HistoryRequest(), filter: EventFilter())
        #expect(try await read(history).map(\.seq) == [1])
    }

    /// Writers and readers at once: each reader gets each event once, whether it comes from the files or live.
    @Test func thePastGoesOverIntoThePresentWithoutGapOrDuplicate() async throws {
        let place = try JournalPlace()
        let journal = place.journal(JournalConfiguration(fileBytes: 64 << 10))
        let hub = EventHub()
        hub.keep(in: journal)
        let count = UInt64(20_000)
        try await withThrowingTaskGroup(of: [UInt64].self) { group in
            group.addTask {
                for seq in 1...count {
                    hub.publish(JournalPlace.event(seq))
                    if seq % 500 == 0 { try await Task.sleep(for: .milliseconds(1)) }
                }
                return []
            }
            for reader in 0..<8 {
                group.addTask {
                    try await Task.sleep(for: .milliseconds(reader * 5))
                    nonisolated(unsafe) var live: AsyncStream<Event>?
                    let end = await withCheckedContinuation { continuation in
                        live = hub.subscribe(EventFilter(), buffer: 100_000, mark: continuation)
                    }
                    let past = try await JournalHistory.of(
                        place.directory, until: end, HistoryRequest(), filter: EventFilter())
                    var seqs: [UInt64] = []
                    while let lines = await past.next() {
                        for line in lines.split(separator: 10) { seqs.append(try Event(json: Array(line)).seq) }
                    }
                    guard seqs.last != count, let live else { return seqs }
                    for await event in live {
                        seqs.append(event.seq)
                        if event.seq == count { break }
                    }
                    return seqs
                }
            }
            for try await seqs in group where !seqs.isEmpty { #expect(seqs == Array(1...count)) }
        }
        journal.close(with: JournalPlace.stop)
        #expect(try place.verify().problems.isEmpty)
    }

    @Test func whatCannotBeWrittenIsTold() async throws {
        let place = try JournalPlace()
        try Files.write(place.directory.path, [], mode: 0o600)
        let journal = place.journal()
        journal.append(JournalPlace.event(1))
        let end = await place.settle(journal)
        #expect(end == Journal.Position(record: 0, unwritten: 1))
        try Files.removeTree(place.directory.path)
        let events = try await read(
            try await .of(place.directory, until: end, HistoryRequest(), filter: EventFilter()))
        guard case .gap(let gap)? = events.first?.body else {
            Issue.record("no gap: \(events)")
            return
        }
        #expect(gap.cause == .writeFailed)
        #expect(gap.count == 1)
        journal.close(with: JournalPlace.stop)
    }
}
