import CorralEvents
import Testing

@testable import CorralEngine

@Suite struct AnswerCacheTests {
    private let now = ContinuousClock.now

    private func key(_ name: String) -> AnswerCache.Key { AnswerCache.Key(name: .literal(name), type: .a) }

    private func content(_ name: String, size: Int = 0) -> AnswerCache.Content {
        .answer(
            ResolvedAnswer(
                code: .noError,
                records: [
                    DNSRecord(
                        name: .literal(name), type: .txt, ttl: 60, data: .opaque([UInt8](repeating: 0, count: size)))
                ], authority: nil, ttl: 60, isNegative: false))
    }

    @Test func anEntryEndsWithItsTime() {
        var cache = AnswerCache(limits: AnswerCache.Limits())
        cache.insert(content("a"), for: key("a"), lasting: .seconds(10), at: now)
        #expect(cache.content(for: key("A"), at: now)?.seconds == 10)
        #expect(cache.content(for: key("a"), at: now.advanced(by: .milliseconds(9_999)))?.seconds == 1)
        #expect(cache.content(for: key("a"), at: now.advanced(by: .seconds(10))) == nil)
        #expect(cache.content(for: AnswerCache.Key(name: .literal("a"), type: .aaaa), at: now) == nil)
    }

    @Test func whatLastsNoTimeIsNotKept() {
        var cache = AnswerCache(limits: AnswerCache.Limits())
        cache.insert(content("a"), for: key("a"), lasting: .seconds(10), at: now)
        cache.insert(content("a"), for: key("a"), lasting: .zero, at: now)
        #expect(cache.count == 0)
    }

    @Test func entriesAreBoundedAndThoseThatEndSoonestGo() {
        var limits = AnswerCache.Limits()
        limits.entries = 10
        var cache = AnswerCache(limits: limits)
        for index in 0..<30 {
            cache.insert(content("n\(index)"), for: key("n\(index)"), lasting: .seconds(100 + index), at: now)
            #expect(cache.count <= 10)
        }
        #expect(cache.content(for: key("n29"), at: now) != nil)
        #expect(cache.content(for: key("n19"), at: now) == nil)
        // Those that have ended make room before any other.
        let later = now.advanced(by: .milliseconds(128_500))
        cache.insert(content("x"), for: key("x"), lasting: .seconds(1), at: later)
        #expect(cache.count == 2)
        #expect(cache.content(for: key("n29"), at: later) != nil)
    }

    @Test func bytesAreBounded() {
        var cache = AnswerCache(limits: AnswerCache.Limits())
        for index in 0..<100 {
            cache.insert(content("n\(index)", size: 8000), for: key("n\(index)"), lasting: .seconds(60), at: now)
        }
        #expect((5...8).contains(cache.count))
        // More than the whole: not kept, and nothing goes for it.
        let before = cache.count
        cache.insert(content("huge", size: 65_535), for: key("huge"), lasting: .seconds(60), at: now)
        #expect(cache.content(for: key("huge"), at: now) == nil)
        #expect(cache.count == before)
    }

    @Test func anEntryThatIsReplacedIsCountedOnce() {
        var cache = AnswerCache(limits: AnswerCache.Limits())
        for _ in 0..<100 { cache.insert(content("a", size: 30_000), for: key("a"), lasting: .seconds(60), at: now) }
        cache.insert(content("b", size: 30_000), for: key("b"), lasting: .seconds(60), at: now)
        #expect(cache.count == 2)
    }
}
