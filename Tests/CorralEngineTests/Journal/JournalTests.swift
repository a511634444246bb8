import CorralEvents
import CorralPolicy
import Glibc
import Synchronization
import Testing

@testable import CorralEngine

/// A directory of its own for a journal, removed at the end, and a clock that the test sets.
final class JournalPlace: Sendable {
    private let place: TemporaryDirectory
    var path: String { place.path }
    let time = Atomic<Int64>(1_795_497_121_000_000_000)
    let complaints = Mutex<[String]>([])

    init() throws {
        place = try TemporaryDirectory()
    }

    var directory: JournalDirectory { JournalDirectory(path: path + "/audit") }

    func journal(_ configuration: JournalConfiguration = JournalConfiguration()) -> Journal {
        Journal(
            directory: directory.path, configuration, now: { [self] in time.load(ordering: .relaxed) },
            report: { [self] text in complaints.withLock { $0.append(text) } })
    }

    func advance(seconds: Int64) { time.add(seconds * 1_000_000_000, ordering: .relaxed) }

    func bytes(of name: String) throws -> [UInt8] {
        let file = try JournalFile(directory.path(of: name), .read)
        return try file.read(Int(try file.status().bytes), at: 0)
    }

    func write(_ bytes: [UInt8], to name: String) throws {
        try directory.remove(name)
        try JournalFile(directory.path(of: name), .create).write(bytes, at: 0)
    }

    /// All whole lines, over all files.
    func lines() throws -> [[UInt8]] {
        try directory.files().flatMap { try bytes(of: $0.name).split(separator: 10).map(Array.init) }
    }

    func events() throws -> [Event] { try lines().map { try Event(json: $0) } }

    func verify() throws -> JournalVerifier.Report {
        var verifier = JournalVerifier()
        for file in try directory.files() {
            verifier.begin(file: file.name)
            for line in try bytes(of: file.name).split(separator: 10, omittingEmptySubsequences: false).dropLast() {
                verifier.add(line)
            }
        }
        return verifier.finish()
    }

    static func event(_ seq: UInt64, sandbox: String = "sb-1", command: [String] = ["true"]) -> Event {
        Event(
            time: 1_795_497_121_000_000_000 + Int64(seq) * 1_000_000, seq: seq,
            sandbox: SandboxReference(id: sandbox, name: sandbox), body: .sandbox(.started(command: command)))
    }

    static let stop = Event(time: 1_795_497_999_000_000_000, seq: 0, sandbox: nil, body: .audit(AuditRecord(.stop)))

    func settle(_ journal: Journal) async -> Journal.Position {
        await withCheckedContinuation { journal.mark($0) }
    }
}

@Suite struct JournalTests {
    private func gaps(_ events: [Event]) -> [Gap] {
        events.compactMap { if case .gap(let gap) = $0.body { gap } else { nil } }
    }

    private func lost(_ events: [Event]) -> [String: UInt64] {
        events.reduce(into: [:]) { sum, event in
            guard case .lost(let loss) = event.body, loss.place == .journal else { return }
            sum[event.sandbox?.id ?? "", default: 0] += loss.count
        }
    }

    @Test func eventsAreWrittenInOrderAndChained() async throws {
        let place = try JournalPlace()
        let journal = place.journal()
        for seq in UInt64(1)...5000 { journal.append(JournalPlace.event(seq)) }
        #expect(await place.settle(journal) == Journal.Position(record: 5000, unwritten: 0))
        journal.close(with: JournalPlace.stop)
        let events = try place.events()
        #expect(events.dropLast().map(\.seq) == Array(1...5000))
        let report = try place.verify()
        #expect(report.problems.isEmpty)
        #expect(report.isClosed)
        #expect(report.intact == [1...5001])
        var status = stat()
        #expect(stat(place.directory.path, &status) == 0 && status.st_mode & 0o777 == 0o700)
        let name = try #require(try place.directory.files().first?.name)
        #expect(stat(place.directory.path(of: name), &status) == 0 && status.st_mode & 0o777 == 0o600)
        #expect(journal.statistics.records == 5001)
        #expect(journal.statistics.headNumber == 5001)
    }

    @Test(arguments: JournalConfiguration.Sync.allCases)
    func theChainGoesOnAcrossRestartsAndFiles(sync: JournalConfiguration.Sync) async throws {
        let place = try JournalPlace()
        let settings = JournalConfiguration(sync: sync, fileBytes: 4096)
        for round in UInt64(0)..<4 {
            let journal = place.journal(settings)
            for seq in 1...40 {
                journal.append(JournalPlace.event(round * 40 + UInt64(seq)))
                if seq % 10 == 0 { _ = await place.settle(journal) }
            }
            journal.close(with: JournalPlace.stop)
        }
        let report = try place.verify()
        #expect(report.problems.isEmpty)
        #expect(report.statementCount == 0)
        #expect(report.files > 4)
        #expect(report.last?.number == 164)
        #expect(try place.events().map(\.seq).filter { $0 > 0 } == Array(1...160))
    }

    @Test func aNewFileBeginsWhenTheOldOneIsOldEnough() async throws {
        let place = try JournalPlace()
        let journal = place.journal(JournalConfiguration(fileAge: .seconds(60)))
        journal.append(JournalPlace.event(1))
        _ = await place.settle(journal)
        place.advance(seconds: 59)
        journal.append(JournalPlace.event(2))
        _ = await place.settle(journal)
        #expect(try place.directory.files().count == 1)
        place.advance(seconds: 2)
        journal.append(JournalPlace.event(3))
        _ = await place.settle(journal)
        #expect(try place.directory.files().map(\.first) == [1, 3])
        journal.close(with: JournalPlace.stop)
        #expect(try place.verify().problems.isEmpty)
    }

    @Test func retentionRemovesTheOldestAndSaysSo() async throws {
        let place = try JournalPlace()
        let journal = place.journal(JournalConfiguration(fileBytes: 2048, keepBytes: 8192))
        for seq in UInt64(1)...100 {
            journal.append(JournalPlace.event(seq))
            if seq % 4 == 0 { _ = await place.settle(journal) }
        }
        #expect(try await eventually { try place.directory.files().reduce(0) { $0 + $1.bytes } <= 8192 + 4096 })
        #expect(try #require(try place.directory.files().first).first > 1)
        // A file goes first, and is told of after that.
        #expect(try await eventually { try place.verify().problems.isEmpty })
        let report = try place.verify()
        #expect(report.problems.isEmpty)
        #expect(report.intact.count == 1)
        #expect(gaps(try place.events()).contains { $0.cause == .retention })
        // What a person removes is not explained by that.
        let second = try #require(try place.directory.files().first?.name)
        try place.directory.remove(second)
        #expect(try place.verify().problems.count == 1)
        journal.close(with: JournalPlace.stop)
    }

    @Test func retentionByAge() async throws {
        let place = try JournalPlace()
        let journal = place.journal(JournalConfiguration(fileAge: .seconds(10), keepAge: .seconds(100)))
        journal.append(JournalPlace.event(1))
        _ = await place.settle(journal)
        place.advance(seconds: 20)
        journal.append(JournalPlace.event(2))
        _ = await place.settle(journal)
        #expect(try place.directory.files().count == 2)
        place.advance(seconds: 90)
        #expect(try await eventually { try place.directory.files().first?.first == 2 })
        #expect(try place.verify().problems.isEmpty)
        journal.close(with: JournalPlace.stop)
    }

    @Test func aClockThatJumpsHarmsNothing() async throws {
        let place = try JournalPlace()
        let journal = place.journal(JournalConfiguration(fileAge: .seconds(600)))
        for (index, jump) in [0, -86_400, 0, 2 * 86_400, 0, -30 * 86_400].enumerated() {
            place.advance(seconds: Int64(jump))
            journal.append(JournalPlace.event(UInt64(index + 1)))
            _ = await place.settle(journal)
        }
        journal.close(with: JournalPlace.stop)
        #expect(try place.events().map(\.seq).filter { $0 > 0 } == [1, 2, 3, 4, 5, 6])
        #expect(try place.verify().problems.isEmpty)
        #expect(journal.statistics.lost == 0)
    }

    /// As a kill in the middle of a write leaves it.
    @Test(arguments: [1, 40, 200, nil])
    func aTornLineIsSetAsideAndStated(length: Int?) async throws {
        let place = try JournalPlace()
        var journal = place.journal()
        for seq in UInt64(1)...3 { journal.append(JournalPlace.event(seq)) }
        _ = await place.settle(journal)
        let name = try #require(try place.directory.files().first?.name)
        let good = try place.bytes(of: name)
        // Nil: all of a record but its line break.
        let torn = Array(good.prefix(try length ?? #require(good.firstIndex(of: 10))))
        try place.write(good + torn, to: name)
        journal = place.journal()
        journal.append(JournalPlace.event(4))
        journal.close(with: JournalPlace.stop)
        let events = try place.events()
        #expect(events.map(\.seq).filter { $0 > 0 } == [1, 2, 3, 4])
        let stated = gaps(events)
        #expect(stated.map(\.cause) == [.tornLine, .uncleanStop])
        #expect(stated[0].bytes == UInt64(torn.count))
        #expect(try place.bytes(of: try #require(stated[0].file)) == torn)
        let report = try place.verify()
        #expect(report.problems.isEmpty)
        #expect(report.statementCount == 2)
    }

    /// As a power failure can leave it.
    @Test func garbageAtTheEndIsSetAsideToo() async throws {
        let place = try JournalPlace()
        var journal = place.journal()
        journal.append(JournalPlace.event(1))
        _ = await place.settle(journal)
        let name = try #require(try place.directory.files().first?.name)
        let good = try place.bytes(of: name)
        let garbage = [UInt8](repeating: 0, count: 5000) + [10] + [UInt8](repeating: 7, count: 3) + [10]
        try place.write(good + garbage, to: name)
        journal = place.journal()
        journal.close(with: JournalPlace.stop)
        #expect(gaps(try place.events()).first?.bytes == UInt64(garbage.count))
        #expect(try place.verify().problems.isEmpty)
    }

    @Test func aFileWithoutARecordIsSetAsideAsAWhole() async throws {
        let place = try JournalPlace()
        try place.directory.make()
        try place.write(Array("nothing of ours\n".utf8), to: JournalDirectory.name(first: 1))
        let journal = place.journal()
        journal.append(JournalPlace.event(1))
        journal.close(with: JournalPlace.stop)
        #expect(gaps(try place.events()).map(\.cause) == [.unreadable])
        #expect(try place.verify().problems.isEmpty)
        // It goes once it is as old as what is kept.
        let aside = { try Files.names(in: place.directory.path).filter { $0.hasPrefix("torn-") } }
        place.journal().close(with: JournalPlace.stop)
        #expect(try aside().count == 1)
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        place.time.store(Int64(now.tv_sec + 91 * 86_400) * 1_000_000_000, ordering: .relaxed)
        place.journal().close(with: JournalPlace.stop)
        #expect(try aside().isEmpty)
    }

    @Test func aFileThatSomebodyRemovesIsMissedAndTold() async throws {
        let place = try JournalPlace()
        let journal = place.journal(JournalConfiguration(fileBytes: 1024))
        for seq in UInt64(1)...8 {
            journal.append(JournalPlace.event(seq))
            _ = await place.settle(journal)
        }
        let current = try #require(try place.directory.files().last)
        try place.directory.remove(current.name)
        #expect(
            try await eventually { try place.directory.files().last.map { $0.first > current.first } ?? false })
        journal.close(with: JournalPlace.stop)
        #expect(gaps(try place.events()).map(\.file) == [current.name])
        let report = try place.verify()
        #expect(report.problems.map(\.finding) == [.missing(current.first...8)])
    }

    @Test func oneSandboxTakesOnlyItsShareAndWhatIsLostIsStatedExactly() async throws {
        let place = try JournalPlace()
        // A journal that cannot be written: its directory is in the way.
        try Files.write(place.directory.path, [], mode: 0o600)
        let journal = place.journal(JournalConfiguration(queueLimit: 100, queueShare: 40))
        for seq in UInt64(1)...500 { journal.append(JournalPlace.event(seq, sandbox: "sb-flood")) }
        for seq in UInt64(1)...60 { journal.append(JournalPlace.event(seq, sandbox: "sb-calm\(seq % 2)")) }
        journal.append(JournalPlace.event(1, sandbox: "sb-late"))
        #expect(journal.statistics.isFailing)
        #expect(journal.statistics.lost == 461)
        #expect(await place.settle(journal) == Journal.Position(record: 0, unwritten: 100))
        try Files.removeTree(place.directory.path)
        #expect(await eventually { !journal.statistics.isFailing })
        _ = await place.settle(journal)
        journal.append(JournalPlace.event(501, sandbox: "sb-flood"))
        journal.close(with: JournalPlace.stop)
        let events = try place.events()
        #expect(lost(events) == ["sb-flood": 460, "sb-late": 1])
        let stated = gaps(events)
        #expect(stated.map(\.cause) == [.writeFailed])
        #expect(stated.first?.count == 461)
        #expect(events.count { $0.sandbox?.id == "sb-flood" && $0.seq > 0 } == 41)
        #expect(events.count { $0.sandbox?.id.hasPrefix("sb-calm") == true } == 60)
        #expect(try place.verify().problems.isEmpty)
        #expect(place.complaints.withLock { $0.count } == 2)
    }

    /// A sandbox that does nothing but be refused does not push the others out; what it cannot have is told exactly.
    @Test func aSandboxHasItsShareAndTheRestIsCounted() throws {
        let place = try JournalPlace()
        let journal = place.journal(JournalConfiguration(sandboxBurst: 10, sandboxRate: 2))
        let loud = SandboxReference(id: "sb-1", name: "a")
        let quiet = SandboxReference(id: "sb-2", name: "b")
        func denial(_ sandbox: SandboxReference, _ seq: UInt64) -> Event {
            Event(
                time: place.time.load(ordering: .relaxed), seq: seq, sandbox: sandbox,
                body: .egress(Traffic(verdict: .deny, reason: .noMatchingRule)))
        }
        for seq in 1...100 { journal.append(denial(loud, UInt64(seq))) }
        // Of others, and of what is not its own making, nothing is left out.
        for seq in 1...5 { journal.append(denial(quiet, UInt64(seq))) }
        journal.append(Event(time: 1, seq: 101, sandbox: loud, body: .limit(LimitReached(.oom))))
        #expect(journal.statistics.beyondShare == 90)
        place.advance(seconds: 3)
        for seq in 102...110 { journal.append(denial(loud, UInt64(seq))) }
        journal.append(Event(time: 2, seq: 111, sandbox: loud, body: .sandbox(.destroyed)))
        journal.close(with: Event(time: 3, seq: 0, sandbox: nil, body: .audit(AuditRecord(.stop))))
        let events = try place.events()
        func count(_ sandbox: SandboxReference, _ type: EventType) -> Int {
            events.count { $0.sandbox == sandbox && $0.type == type }
        }
        #expect(count(loud, .egress) == 16)
        #expect(count(quiet, .egress) == 5)
        #expect(count(loud, .limit) == 1)
        let lost = events.filter { $0.sandbox == loud }.compactMap { event -> Loss? in
            if case .lost(let loss) = event.body { loss } else { nil }
        }
        #expect(lost.reduce(0) { $0 + $1.count } == 93)
        #expect(lost.allSatisfy { $0.place == .share })
        #expect(journal.statistics.lost == 0)
        // Told before the sandbox ends, and no more behind it.
        #expect(events.lastIndex { $0.type == .lost } ?? .max < events.lastIndex { $0.type == .sandbox } ?? 0)
    }

    @Test func anAllowanceIsABucket() {
        var allowance = JournalAllowance(burst: 2, rate: 1)
        let second: Int64 = 1_000_000_000
        func takes(_ sandbox: String, _ times: [Int64]) -> [Bool] { times.map { allowance.take(sandbox, at: $0) } }
        #expect(takes("a", [0, 0, 0]) == [true, true, false])
        #expect(takes("b", [0]) == [true])
        #expect(takes("a", [second / 2, second, second]) == [false, true, false])
        // Never more than it holds, and a clock that goes back gives nothing.
        #expect(takes("a", [100 * second, 100 * second, 100 * second, 0]) == [true, true, false, false])
        allowance.forget("a")
        #expect(takes("a", [0]) == [true])
    }
}

/// Asks every 20 ms, for 10 s.
func eventually(_ condition: () async throws -> Bool) async rethrows -> Bool {
    for _ in 0..<500 {
        if try await condition() { return true }
        try? await Task.sleep(for: .milliseconds(20))
    }
    return false
}
