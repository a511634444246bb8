import Testing

@testable import CorralEngine

@Suite struct OutputLogTests {
    private func text(_ log: OutputLog, from position: UInt64 = 0) -> String {
        log.read(from: position).pieces.map { String(decoding: $0.bytes, as: UTF8.self) }.joined()
    }

    private func write(_ log: OutputLog, _ text: String, isError: Bool = false, at time: Int64) {
        log.append(Array(text.utf8), isError: isError, time: time)
    }

    @Test func bothStreamsComeInTheOrderOfWriting() {
        let log = OutputLog()
        write(log, "one ", at: 0)
        write(log, "two ", isError: true, at: 1)
        write(log, "three", at: 2)
        #expect(text(log) == "one two three")
        #expect(log.read(from: 0).pieces.map(\.isError) == [false, true, false])
        #expect(text(log, from: 6) == "o three")
        #expect(log.read(from: 0).end == 13)
    }

    @Test func whatComesCloseTogetherIsOnePiece() {
        let log = OutputLog()
        for _ in 0..<100 { write(log, "x", at: 5) }
        write(log, "y", at: 5 + 20_000_000)
        #expect(log.read(from: 0).pieces.map(\.bytes.count) == [100, 1])
    }

    @Test func aFloodOfOneStreamDropsItsOldestAndLeavesTheOther() {
        let log = OutputLog()
        write(log, "kept", isError: true, at: 0)
        let piece = [UInt8](repeating: 7, count: 100_000)
        for time in 1...50 { log.append(piece, isError: false, time: Int64(time)) }
        let (pieces, end, skipped, _) = log.read(from: 0)
        let held = pieces.filter { !$0.isError }.reduce(0) { $0 + $1.bytes.count }
        #expect((OutputLog.limit...OutputLog.limit + piece.count).contains(held))
        #expect(pieces.first?.bytes == Array("kept".utf8))
        #expect(end == 5_000_004)
        #expect(skipped == 5_000_000 - UInt64(held))
    }

    @Test func manyTinyPiecesAreBounded() {
        let log = OutputLog()
        for time in 0..<20_000 { write(log, "a", isError: time % 2 == 1, at: Int64(time) * 20_000_000) }
        #expect(log.read(from: 0).pieces.count == 2 * OutputLog.mostPieces)
    }

    @Test(arguments: [(0, ""), (1, "three\n"), (2, "two\nthree\n"), (3, "one\ntwo\nthree\n"), (9, "one\ntwo\nthree\n")])
    func theLastLinesAreThoseOfBothStreams(lines: Int, expected: String) {
        let log = OutputLog()
        write(log, "one\ntw", at: 0)
        write(log, "o\n", isError: true, at: 1)
        write(log, "three\n", at: 2)
        #expect(text(log, from: log.start(since: nil, lines: lines)) == expected)
    }

    @Test func aLastLineWithoutItsEndCounts() {
        let log = OutputLog()
        write(log, "one\ntwo", at: 0)
        #expect(text(log, from: log.start(since: nil, lines: 1)) == "two")
    }

    @Test func sinceLeavesOutWhatIsOlder() {
        let log = OutputLog()
        write(log, "old", at: 0)
        write(log, "new", at: 50_000_000)
        #expect(text(log, from: log.start(since: 50_000_000, lines: nil)) == "new")
        #expect(text(log, from: log.start(since: 0, lines: nil)) == "oldnew")
        #expect(log.start(since: 60_000_000, lines: nil) == 6)
    }

    @Test func aFollowerIsWokenByWhatComesAndByTheEnd() async throws {
        let log = OutputLog()
        let reader = LogReader(log: log, position: 0, follows: true)
        async let all: [LogChunk] = {
            var all: [LogChunk] = []
            for try await chunk in reader { all.append(chunk) }
            return all
        }()
        try await Task.sleep(for: .milliseconds(20))
        write(log, "a", at: 0)
        try await Task.sleep(for: .milliseconds(20))
        write(log, "b", isError: true, at: 1)
        log.finish()
        #expect(try await all == [.stdout([97]), .stderr([98])])
    }

    @Test func withoutFollowingTheEndIsTheEndOfWhatIsHeld() async throws {
        let log = OutputLog()
        write(log, "a", at: 0)
        var all: [LogChunk] = []
        for try await chunk in LogReader(log: log, position: 0, follows: false) { all.append(chunk) }
        #expect(all == [.stdout([97])])
    }

    @Test func aFollowerThatIsCancelledLetsGo() async {
        let log = OutputLog()
        let task = Task { await log.wait(beyond: 0) }
        try? await Task.sleep(for: .milliseconds(20))
        task.cancel()
        await task.value
    }
}
