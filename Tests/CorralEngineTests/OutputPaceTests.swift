import Testing

@testable import CorralEngine

@Suite struct OutputPaceTests {
    /// Whether there is a pause after each read of so many bytes, `gap` nanoseconds apart.
    private func pauses(_ reads: [Int], gap: UInt64) -> [Bool] {
        var pace = OutputPace()
        return reads.enumerated().map { index, count in
            pace.pause(after: count, at: 1_000_000 + UInt64(index) * gap) != nil
        }
    }

    @Test func manySmallReadsInARowLetOutputGather() {
        let reads = [Int](repeating: 4096, count: 9) + [100_000, 200_000]
        #expect(pauses(reads, gap: 20_000) == [Bool](repeating: false, count: 8) + [true, true, false])
    }

    @Test func whatComesNowAndThenIsReadAtOnce() {
        #expect(!pauses([Int](repeating: 4096, count: 50), gap: 1_000_000).contains(true))
    }

    @Test func largeReadsNeedNoPause() {
        #expect(!pauses([Int](repeating: 262_144, count: 50), gap: 20_000).contains(true))
    }

    @Test func aCommandThatSlowsDownIsReadAtOnceAgain() {
        let reads = [Int](repeating: 4096, count: 9) + [100, 100, 100]
        #expect(pauses(reads, gap: 20_000).suffix(3) == [false, false, false])
    }
}
