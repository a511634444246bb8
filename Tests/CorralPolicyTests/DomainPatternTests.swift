import RandomPolicies
import Testing

@testable import CorralPolicy

@Suite struct DomainPatternTests {
    @Test(arguments: [
        ("api.example.com", "api.example.com"), ("API.Example.COM.", "api.example.com"),
        ("*.example.org", "*.example.org"),
        ("*.Example.org.", "*.example.org"), ("*.com", "*.com"), ("localhost", "localhost"),
        ("_dmarc.example.com", "_dmarc.example.com"),
        ("bücher.example", "xn--bcher-kva.example"), ("BÜCHER.example", "xn--bcher-kva.example"),
        ("bu\u{308}cher.example", "xn--bcher-kva.example"), ("*.müller.example", "*.xn--mller-kva.example"),
        ("例え.テスト", "xn--r8jz45g.xn--zckzah"), ("παράδειγμα.δοκιμή", "xn--hxajbheg2az3al.xn--jxalpdlp"),
        ("пример.испытание", "xn--e1afmkfd.xn--80akhbyknj4f"), ("실례.테스트", "xn--9n2bp8q.xn--9t4b11yi5a"),
        ("उदाहरण.परीक्षा", "xn--p1b6ci4b4b3a.xn--11b5bs3a9aj6g"), ("مثال.إختبار", "xn--mgbh0fb.xn--kgbechtv"),
        ("உதாரணம்.பரிட்சை", "xn--zkc6cc5bi7f6e.xn--hlcj6aya9esc7a"), ("טעסט", "xn--deba0ad"),
        ("xn--bcher-kva.example", "xn--bcher-kva.example"),
        ("r3---sn-a5.example.com", "r3---sn-a5.example.com"), ("1.example", "1.example"),
        ("ẹ\u{302}.example", "xn--qlg.example"),
    ])
    func readsAsDNSHasIt(text: String, expected: String) throws {
        #expect(try DomainPattern(text).description == expected)
    }

    @Test(arguments: [
        ("", "root"), (".", "root"), ("*", "covers every name"), ("*.", "covers every name"), ("a..b", "empty label"),
        (".a", "empty label"),
        ("a.*.b", "a *"), ("*a.b", "a *"), ("*.*.b", "a *"), ("a.*", "a *"), ("192.0.2.7", "an address"),
        ("[2001:db8::1]", "an address"),
        ("2001:db8::1", "an address"), ("10.0.0.0/8", "an address"), ("example.7", "IPv4"), ("0x7f.0x1", "IPv4"),
        ("127.1", "IPv4"), ("*.1", "IPv4"),
        ("a b.example", "a blank"), ("a\u{0}.example", "a blank"), ("a/b.example", "a /"), ("-a.example", "hyphen"),
        ("a-.example", "hyphen"),
        ("straße.example", "two ways"), ("ﬁ.example", "another form"), ("a\u{200d}b.example", "another form"),
        ("☃.example", "no letter"),
        ("a。b", "no letter"), ("\u{301}a.example", "begins with a mark"), ("xn--.example", "hyphen"),
        ("xn--99999999.example", "no Punycode"),
        ("ᄒ\u{1161}.example", "another form"), ("http://example.com", "address"), ("user@example.com", "a @"),
    ])
    func refusesWhatIsNoName(text: String, expected: String) {
        do {
            let pattern = try DomainPattern(text)
            Issue.record("\(text) is read as \(pattern)")
        } catch {
            #expect(error.message.contains(expected), "\(text): \(error.message)")
            #expect(!error.expected.isEmpty)
        }
    }

    /// U+0600 makes one character with the dot behind it.
    @Test func aDotAtTheEndTakesNothingElseAlong() throws {
        #expect(try DomainPattern("example.").name == "example")
        #expect(throws: DomainPattern.ParseError.self) { try DomainPattern("example\u{600}.") }
    }

    @Test func lengthsAreThoseOfDNS() throws {
        func name(_ lengths: Int...) -> String {
            lengths.map { String(repeating: "a", count: $0) }.joined(separator: ".")
        }
        #expect(try DomainPattern(name(63, 63, 63, 61)).name.utf8.count == 253)
        #expect(throws: DomainPattern.ParseError.self) { try DomainPattern(name(63, 63, 63, 62)) }
        #expect(throws: DomainPattern.ParseError.self) { try DomainPattern(name(64, 3)) }
        #expect(throws: DomainPattern.ParseError.self) { try DomainPattern("*." + name(63, 63, 63, 60)) }
        #expect(throws: DomainPattern.ParseError.self) { try DomainPattern(String(repeating: "é", count: 1_000_000)) }
    }

    @Test func wildcardsMatchAnyDepthBelowAndExactNamesThemselves() throws {
        let below = try DomainPattern("*.example.org")
        for name in ["a.example.org", "a.b.c.example.org", "_x.example.org"] { #expect(below.matches(name)) }
        for name in [
            "example.org", "aexample.org", "a.example.org.evil.example", ".example.org", "org", "", "a.example.com",
        ] {
            #expect(!below.matches(name), "\(name)")
        }
        let exact = try DomainPattern("example.org")
        #expect(exact.matches("example.org"))
        for name in ["a.example.org", "xexample.org", "example.or", "org", ""] {
            #expect(!exact.matches(name), "\(name)")
        }
    }

    /// RFC 3492, section 7.1.
    @Test(arguments: [
        ("ليهمابتكلموشعربي؟", "egbpdaj6bu4bxfgehfvwxn"), ("他们为什么不说中文", "ihqwcrb4cv8a8dqg056pqjye"),
        ("почемужеонинеговорятпорусски", "b1abfaaepdrnnbgefbadotcwatmq2g4l"),
        ("セ", "1ck"), ("3年b組金八先生", "3b-ww4c5e180e575a65lsy2b"), ("-> $1.00 <-", "-> $1.00 <--"),
    ])
    func punycodeIsThatOfTheRFC(text: String, expected: String) {
        #expect(Punycode.encode(Array(text.unicodeScalars)) == expected)
        if !text.utf8.allSatisfy({ $0 < 0x80 }) {
            #expect(Punycode.decode(expected.utf8).map { String(String.UnicodeScalarView($0)) } == text)
        }
    }

    @Test func whatIsEncodedDecodesToItselfAndHostileTextDoesNoHarm() {
        var random = SplitMix64(state: 3)
        for _ in 0..<20_000 {
            let scalars = (0..<Int.random(in: 1...30, using: &random)).compactMap { _ in
                Unicode.Scalar(UInt32.random(in: 0x61...0x2ffff, using: &random))
            }
            guard scalars.contains(where: { !$0.isASCII }) else { continue }
            #expect(Punycode.decode(Punycode.encode(scalars).utf8) == scalars)
            let bytes = (0..<40).map { _ in Array("abcz0189-".utf8)[Int.random(in: 0..<9, using: &random)] }
            _ = Punycode.decode(bytes)
        }
        #expect(Punycode.decode([UInt8](repeating: UInt8(ascii: "9"), count: 100_000)) == nil)
    }
}

@Suite struct NameRulesTests {
    private func policy(allow: [String], deny: [String] = [], internet: Bool = false) throws -> Policy {
        var policy = Policy(
            name: "names", allow: try allow.map { EgressRule(target: .domain(try DomainPattern($0))) },
            deny: try deny.map {
                EgressRule(target: .domain(try DomainPattern($0)), protocols: Set(IPProtocol.allCases))
            })
        if internet { policy.allow.append(EgressRule(target: .internet)) }
        return policy
    }

    @Test func everyMatchingRuleIsNamedAndDenyBeatsAllow() throws {
        let names = try policy(
            allow: ["a.example", "*.b.example", "x.b.example", "*.example", "a.example"],
            deny: ["*.evil.example", "no.b.example"]
        ).names
        #expect(names.decide("a.example") == .allowed(rules: [0, 3, 4], anywhere: false))
        #expect(names.decide("x.b.example") == .allowed(rules: [1, 2, 3], anywhere: false))
        #expect(names.decide("y.z.b.example") == .allowed(rules: [1, 3], anywhere: false))
        #expect(names.decide("no.b.example") == .denied(rule: 1))
        #expect(names.decide("a.evil.example") == .denied(rule: 0))
        #expect(names.decide("evil.example") == .allowed(rules: [3], anywhere: false))
        for name in ["example", "a.other", "", ".", "..", "a.example."] {
            #expect(names.decide(name) == .notAllowed, "\(name)")
        }
    }

    @Test func thePresetPermitsEveryNameButRefusedOnes() throws {
        let names = try policy(allow: ["a.example"], deny: ["b.example"], internet: true).names
        #expect(names.decide("a.example") == .allowed(rules: [0], anywhere: true))
        #expect(names.decide("else.example") == .allowed(rules: [], anywhere: true))
        #expect(names.decide("b.example") == .denied(rule: 0))
        let none = Policy(name: "none").names
        #expect(none.decide("a.example") == .notAllowed)
    }

    @Test func tablesAnswerAsEachPatternDoesAndQuickly() throws {
        var random = SplitMix64(state: 9)
        let labels = ["a", "b", "c", "example", "org"]
        func name() -> String {
            (0..<Int.random(in: 1...5, using: &random)).map { _ in labels[Int.random(in: 0..<5, using: &random)] }
                .joined(separator: ".")
        }
        for _ in 0..<200 {
            let patterns = (0..<10).map { _ in (Bool.random(using: &random) ? "*." : "") + name() }
            let parsed = try patterns.map { try DomainPattern($0) }
            let names = try policy(allow: patterns).names
            for _ in 0..<50 {
                let asked = name()
                let matching = parsed.indices.filter { parsed[$0].matches(asked) }
                #expect(
                    names.decide(asked) == (matching.isEmpty ? .notAllowed : .allowed(rules: matching, anywhere: false))
                )
            }
        }
        let many = try policy(allow: (0..<10_000).map { "*.n\($0).example" }).names
        let deep = Array(repeating: "a", count: 120).joined(separator: ".") + ".n7777.example"
        let time = ContinuousClock().measure {
            for _ in 0..<10_000 { _ = many.decide(deep) }
        }
        #expect(many.decide(deep) == .allowed(rules: [7777], anywhere: false))
        #expect(time < .seconds(3), "\(time)")
        print("10,000 names of 123 labels against 10,000 patterns: \(time)")
    }
}
