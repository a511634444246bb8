import Testing

@testable import CorralEngine

@Suite struct DNSNameTests {
    @Test func caseDoesNotTellNamesApart() {
        let (a, b) = (DNSName.literal("API.Example.com."), DNSName.literal("api.eXAMPLE.COM"))
        #expect(a == b)
        #expect(a.hashValue == b.hashValue)
        #expect(a.folded.wire == b.folded.wire)
        #expect(a.wire != b.wire)
        #expect(a != DNSName.literal("api.example.co"))
    }

    /// Letters alone are folded: `@` and `[` stand beside them, and é is no ASCII.
    @Test func onlyLettersAreFolded() {
        #expect(DNSName(uncompressed: [2, 0x40, 0x5b, 0]) != DNSName(uncompressed: [2, 0x60, 0x7b, 0]))
        #expect(DNSName(uncompressed: [1, 0xc9, 0])?.folded.wire == [1, 0xc9, 0])
    }

    @Test(arguments: [
        ([3, 0x61, 0x2e, 0x62, 0] as [UInt8], "a\\.b"), ([1, 0x61, 1, 0x62, 0], "a.b"), ([0], "."),
        ([3, 0x1b, 0x5b, 0x41, 0], "\\027\\[A"), ([2, 0xc3, 0xa9, 0], "\\195\\169"), ([3, 0x5f, 0x2d, 0x39, 0], "_-9"),
        ([2, 0x5c, 0x22, 0], "\\\\\\\""),
    ])
    func hostileOctetsAreWrittenOut(wire: [UInt8], text: String) {
        #expect(DNSName(uncompressed: wire)?.description == text)
    }

    @Test(arguments: ["api.example.com", "_443._tcp.x", "xn--bcher-kva.example", "a"])
    func hostNamesArePlain(text: String) {
        #expect(DNSName.literal(text).isPlain)
    }

    @Test(
        arguments: [[0], [1, 0x2a, 0], [3, 0x61, 0x2e, 0x62, 0], [1, 0x20, 0], [1, 0x80, 0], [1, 0x61, 1, 0, 0]]
            as [[UInt8]])
    func otherNamesAreNot(wire: [UInt8]) throws {
        #expect(try !#require(DNSName(uncompressed: wire)).isPlain)
    }

    @Test func aNameLiesWithinItsAncestorsAlone() {
        let name = DNSName.literal("a.b.Example")
        for ancestor in ["a.b.example", "B.example", "example", "."] { #expect(name.isWithin(.literal(ancestor))) }
        for other in ["x.a.b.example", "c.example", "b", "xample"] { #expect(!name.isWithin(.literal(other))) }
        // The octets of `b` are the end of another label.
        #expect(!DNSName.literal("ab.example").isWithin(.literal("b.example")))
    }

    @Test(arguments: [
        "a..b", ".a", String(repeating: "a", count: 64), (0..<128).map { _ in "a" }.joined(separator: "."),
    ])
    func textThatIsNoNameIsRefused(text: String) {
        #expect(DNSName(text) == nil)
    }

    @Test func wireThatIsNotOneNameIsRefused() {
        #expect(DNSName(uncompressed: []) == nil)
        #expect(DNSName(uncompressed: [1, 0x61]) == nil)
        #expect(DNSName(uncompressed: [0, 0]) == nil)
        #expect(DNSName(uncompressed: [0xc0, 0x0c]) == nil)
        #expect(DNSName(uncompressed: [1, 0x61, 0])?.wire == [1, 0x61, 0])
    }

    @Test func recasingKeepsTheNameAndNothingElse() {
        var random = SeededRandom(state: 1)
        let name = DNSName.literal("api-7._tcp.example.com")
        let cased = (0..<50).map { _ in name.recased(using: &random) }
        #expect(cased.allSatisfy { $0 == name })
        #expect(Set(cased.map(\.wire)).count > 40)
        // More letters than one random word has bits.
        let long = DNSName.literal((0..<4).map { _ in String(repeating: "x", count: 60) }.joined(separator: "."))
        #expect(Set((0..<20).map { _ in long.recased(using: &random).wire }).count == 20)
    }
}
