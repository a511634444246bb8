import CorralKernel
import Testing

@testable import CorralEngine

/// What addresses are open for, by the names that have resolved to them.
struct NamePinsTests {
    @Test func ofRulesWithTheSamePortsTheOneThatLastsLongestCounts() {
        let rules = [
            PinnedRule(expires: 5, portSet: 1, rule: 3), PinnedRule(expires: 9, portSet: 1, rule: 7),
            PinnedRule(expires: 9, portSet: 1, rule: 4), PinnedRule(expires: 2, portSet: 0, rule: 1),
        ]
        #expect(
            PinnedRule.longestLasting(rules) == [
                PinnedRule(expires: 9, portSet: 1, rule: 4), PinnedRule(expires: 2, portSet: 0, rule: 1),
            ])
        #expect(PinnedRule.longestLasting([]).isEmpty)
    }

    @Test func theShortestLastingGoWhereTheKernelHoldsNoMore() {
        let rules = (1...6).map { PinnedRule(expires: UInt64($0), portSet: $0, rule: $0) }
        #expect(PinnedRule.longestLasting(rules).map(\.expires) == [6, 5, 4, 3])
    }

    @Test func addingComesToTheSameAsBeginningWithAll() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<500 {
            let all = (0..<Int.random(in: 1...40, using: &random)).map { _ in
                let rule = Int.random(in: 0..<12, using: &random)
                // A rule has one set of ports.
                return PinnedRule(expires: UInt64.random(in: 1...20, using: &random), portSet: rule / 2, rule: rule)
            }
            let added = all.reduce(into: []) { known, rule in known = PinnedRule.longestLasting(known + [rule]) }
            #expect(added == PinnedRule.longestLasting(all), "\(all)")
        }
    }

    @Test func theNameThatEndsFirstGivesWay() {
        var names: [String: UInt64] = [:]
        for (name, expires) in [("b", 30), ("a", 10), ("c", 20)] as [(String, UInt64)] {
            names.note(name, until: expires, limit: 3)
        }
        names.note("a", until: 15, limit: 3)
        #expect(names == ["a": 15, "b": 30, "c": 20])
        // The one that has just come stays, however soon it ends.
        names.note("d", until: 1, limit: 3)
        #expect(names == ["b": 30, "c": 20, "d": 1])
        names.note("e", until: 40, limit: 3)
        #expect(names == ["b": 30, "c": 20, "e": 40])
    }
}
