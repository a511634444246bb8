import Testing

@testable import CorralEvents

@Suite struct JournalVerifierTests {
    private typealias Finding = JournalVerifier.Finding

    private static func event(_ seq: UInt64) -> Event {
        Event(
            time: Int64(seq) * 1_000_000_000, seq: seq, sandbox: SandboxReference(id: "sb-1", name: "a1"),
            body: .sandbox(.started(command: ["echo", "\"},\n{\"record\":7,\"prev\":\"\(seq)"])))
    }

    private static func lines(_ count: UInt64, after chain: JournalChain = JournalChain()) -> [[UInt8]] {
        var chain = chain
        return (0..<count).map { _ in
            var bytes: [UInt8] = []
            chain.append(event(chain.number + 1), to: &bytes)
            return Array(bytes.dropLast())
        }
    }

    private static func verify(_ files: [[[UInt8]]], head: SHA256? = nil, whole: Bool = true) -> JournalVerifier.Report
    {
        var verifier = JournalVerifier(head: head, startsAtBeginning: whole)
        for (index, lines) in files.enumerated() {
            verifier.begin(file: "f\(index)")
            for line in lines { verifier.add(line[...]) }
        }
        return verifier.finish()
    }

    private static func findings(_ lines: [[UInt8]]) -> [(Int, Finding)] {
        verify([lines]).problems.map { ($0.place.line, $0.finding) }
    }

    @Test func recordsAreEventsWithTheirChain() throws {
        var chain = JournalChain()
        var bytes: [UInt8] = []
        let event = Self.event(1)
        chain.append(event, to: &bytes)
        let text = String(decoding: bytes, as: UTF8.self)
        let body = text.prefix(text.count - 76)
        #expect(text.hasSuffix(",\"hash\":\"\(SHA256(of: body.utf8))\"}\n"))
        #expect(body.hasSuffix(",\"record\":1,\"prev\":\"\(SHA256.zero)\""))
        let record = try #require(JournalRecord(line: bytes.dropLast()))
        #expect(record.eventLine == event.jsonLine)
        #expect(record.actualHash == record.hash)
        #expect(record.hash == chain.hash)
        #expect(try Event(json: bytes) == event)
    }

    @Test func everySampleEventGoesThroughTheJournalUnchanged() throws {
        var samples = SampleEvents(seed: 9)
        var chain = JournalChain()
        for _ in 0..<2000 {
            let event = samples.next()
            var bytes: [UInt8] = []
            chain.append(event, to: &bytes)
            let record = try #require(JournalRecord(line: bytes.dropLast()))
            #expect(record.eventLine == event.jsonLine)
            #expect(Event.time(ofLine: bytes[...]) == event.time)
        }
    }

    @Test func aWholeJournalIsIntactOverAllItsFiles() {
        let lines = Self.lines(10)
        let report = Self.verify([Array(lines[..<4]), Array(lines[4..<5]), Array(lines[5...])])
        #expect(report.problems.isEmpty)
        #expect(report.intact == [1...10])
        #expect(report.last?.number == 10)
        #expect(report.files == 3)
    }

    @Test func anAlteredLineIsNamed() {
        for index in 0..<5 {
            var lines = Self.lines(5)
            lines[index][60] ^= 1
            let report = Self.verify([lines])
            #expect(report.problems.map(\.place.line) == [index + 1])
            #expect(report.problems.map(\.finding) == [.altered(record: UInt64(index + 1))])
            let number = UInt64(index) + 1
            let intact = [number > 1 ? 1...(number - 1) : nil, number < 5 ? (number + 1)...5 : nil].compactMap { $0 }
            #expect(report.intact == intact)
        }
    }

    /// Each byte of a line counts, those of the chain too.
    @Test func everyByteIsProtected() {
        let good = Self.lines(3)
        for index in good[1].indices {
            var lines = good
            lines[1][index] ^= 0x10
            let problems = Self.verify([lines]).problems
            #expect(problems.contains { $0.place.line == 2 || $0.place.line == 3 }, "byte \(index)")
        }
        #expect(Self.verify([good]).problems.isEmpty)
    }

    @Test func aRemovedLineIsNamed() throws {
        for index in 1..<5 {
            var lines = Self.lines(6)
            lines.remove(at: index)
            let (line, finding) = try #require(Self.findings(lines).first)
            #expect(finding == .missing(UInt64(index + 1)...UInt64(index + 1)))
            #expect(line == index + 1)
            #expect(Self.findings(lines).count == 1)
        }
        var lines = Self.lines(9)
        lines.removeSubrange(3..<7)
        #expect(Self.findings(lines).map(\.1) == [.missing(4...7)])
        #expect(Self.verify([lines]).intact == [1...3, 8...9])
    }

    @Test func aRemovedFileIsAGapBetweenItsNeighbours() {
        let lines = Self.lines(9)
        let report = Self.verify([Array(lines[..<3]), Array(lines[6...])])
        #expect(report.problems == [.init(place: .init(file: "f1", line: 1), finding: .missing(4...6))])
    }

    @Test func movedLinesAreNamed() {
        var lines = Self.lines(6)
        lines.swapAt(2, 3)
        #expect(Self.findings(lines).map(\.1) == [.misplaced(record: 3)])
        #expect(Self.findings(lines).map(\.0) == [4])
        var far = Self.lines(9)
        far.insert(far.remove(at: 2), at: 7)
        #expect(Self.findings(far).map(\.1) == [.misplaced(record: 3)])
        #expect(Self.findings(far).map(\.0) == [8])
    }

    @Test func aLineThatStandsTwiceIsNamed() {
        var lines = Self.lines(5)
        lines.insert(lines[2], at: 3)
        #expect(Self.findings(lines).map(\.1) == [.repeated(record: 3)])
        #expect(Self.findings(lines).map(\.0) == [4])
    }

    /// One who can compute hashes too: the record behind does not follow any more.
    @Test func aReplacedLineWithAHashOfItsOwnIsNamed() throws {
        var lines = Self.lines(5)
        let before = try #require(JournalRecord(line: lines[1][...]))
        var chain = JournalChain(number: 2, hash: before.hash)
        var forged: [UInt8] = []
        chain.append(Self.event(99), to: &forged)
        lines[2] = Array(forged.dropLast())
        let findings = Self.findings(lines)
        #expect(findings.map(\.1) == [.notFollowing(record: 4, there: .init(file: "f0", line: 3))])
        #expect(findings.map(\.0) == [4])
    }

    @Test func aLineThatWasPutInIsNamed() throws {
        var lines = Self.lines(5)
        let before = try #require(JournalRecord(line: lines[1][...]))
        var chain = JournalChain(number: 2, hash: before.hash)
        var forged: [UInt8] = []
        chain.append(Self.event(99), to: &forged)
        lines.insert(Array(forged.dropLast()), at: 2)
        #expect(Self.findings(lines).map(\.1) == [.repeated(record: 3)])
        var garbage = Self.lines(5)
        garbage.insert(Array("{}".utf8), at: 2)
        #expect(Self.findings(garbage).map(\.1) == [.notARecord])
        #expect(Self.findings(garbage).map(\.0) == [3])
    }

    @Test func aLineReplacedByGarbageIsOneProblem() {
        var lines = Self.lines(5)
        lines[2] = Array("nothing".utf8)
        #expect(Self.findings(lines).map(\.1) == [.notARecord])
    }

    @Test func whatRetentionRemovedIsExplainedAndNothingElse() throws {
        let lines = Self.lines(6)
        let third = try #require(JournalRecord(line: lines[2][...]))
        let last = try #require(JournalRecord(line: lines[5][...]))
        func journal(stating through: UInt64, _ hash: SHA256) -> [[UInt8]] {
            var chain = JournalChain(number: 6, hash: last.hash)
            var statement: [UInt8] = []
            let gap = Gap(.retention, through: through, hash: hash)
            chain.append(Event(time: 7_000_000_000, seq: 0, sandbox: nil, body: .gap(gap)), to: &statement)
            return Array(lines[3...]) + [Array(statement.dropLast())]
        }
        #expect(Self.verify([journal(stating: 3, third.hash)]).problems.isEmpty)
        let unexplained = [Finding.unexplainedBeginning(record: 4)]
        #expect(Self.verify([journal(stating: 2, third.hash)]).problems.map(\.finding) == unexplained)
        #expect(Self.verify([journal(stating: 3, last.hash)]).problems.map(\.finding) == unexplained)
        #expect(Self.verify([Array(lines[3...])]).problems.map(\.finding) == unexplained)
        #expect(Self.verify([Array(lines[3...])], whole: false).problems.isEmpty)
    }

    @Test func aKnownHeadTellsWhetherTheEndIsThere() throws {
        let lines = Self.lines(6)
        let head = try #require(JournalRecord(line: lines[4][...])).hash
        #expect(Self.verify([lines], head: head).problems.isEmpty)
        #expect(Self.verify([Array(lines[..<5])], head: head).problems.isEmpty)
        #expect(Self.verify([Array(lines[..<4])], head: head).problems.map(\.finding) == [.headNotFound])
        // Written anew from the beginning: a chain as good as the first, but another.
        var chain = JournalChain()
        var anew: [UInt8] = []
        for seq in 11..<16 { chain.append(Self.event(UInt64(seq)), to: &anew) }
        let rewritten = anew.split(separator: 10).map(Array.init)
        #expect(Self.verify([rewritten]).problems.isEmpty)
        #expect(Self.verify([rewritten], head: head).problems.map(\.finding) == [.headNotFound])
    }

    @Test func theEndSaysWhetherItWasClosed() {
        var chain = JournalChain()
        var bytes: [UInt8] = []
        chain.append(Event(time: 1, seq: 0, sandbox: nil, body: .audit(AuditRecord(.stop))), to: &bytes)
        #expect(Self.verify([[Array(bytes.dropLast())]]).isClosed)
        #expect(!Self.verify([Self.lines(2)]).isClosed)
    }

    @Test func nothingTraps() {
        let line = Self.lines(1)[0]
        for count in line.indices { _ = JournalRecord(line: line[..<count]) }
        let huge = String(decoding: line, as: UTF8.self).replacing("\"record\":1,", with: "\"record\":\(UInt64.max),")
        let over = huge.replacing("\(UInt64.max)", with: "\(UInt64.max)9")
        _ = Self.verify([[Array(huge.utf8), line, Array(over.utf8), Array(huge.utf8), []]])
        _ = Self.verify([[], []])
    }
}
