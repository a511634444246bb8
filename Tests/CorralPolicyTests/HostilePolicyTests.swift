import CorralPolicy
import Testing

/// Texts made to mislead or exhaust the reader; each beside one that is read.
@Suite struct HostilePolicyTests {
    static let head = "apiVersion: corral/v1\nname: web\n"

    private func problems(_ text: String) -> [String] {
        do {
            _ = try Policy(yaml: text, file: "web.yaml")
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test(arguments: ["---\n[", "...\n}", "---\nname: x\n", "egress: [", "name: again\n"])
    func whatFollowsAPolicyIsReadToTheEnd(tail: String) {
        #expect(problems(Self.head).isEmpty)
        let found = problems(Self.head + tail)
        #expect(found.count == 1 && !found[0].contains("is empty"), "\(found)")
    }

    @Test func nestedAliasesAreRefusedAtOnce() {
        var text = "a0: &a0 [x, x]\n"
        for level in 1...60 { text += "a\(level): &a\(level) [*a\(level - 1), *a\(level - 1)]\n" }
        text += "? *a60\n: 1\n"
        #expect(problems(text) == ["web.yaml:1:5: an anchor; expected the value itself, or quotes around the text"])
        #expect(
            problems(Self.head + "env: { URL: \"http://x/?a=1&b=2\", GLOB: \"*.txt\", Q: a&b*c!d } # a & b *c\n")
                .isEmpty)
    }

    @Test func bracketsInTextAreNoNesting() throws {
        let brackets = String(repeating: "[{", count: 500)
        let policy = try Policy(yaml: Self.head + "env: { A: \"\(brackets)\" } # \(brackets)\n", file: "web.yaml")
        #expect(policy.env["A"] == brackets)
        #expect(problems(Self.head + "env: \(brackets)").first?.contains("nested too deeply") == true)
    }

    @Test func environmentIsBounded() throws {
        for (text, expected) in [
            ("env: { A: \"a\\0b\" }", "zero byte"), ("env: { \"A=B\": c }", "no name"), ("env: { \"\": c }", "no name"),
            ("env: { \"A\\0\": c }", "no name"),
            ("env: { A: \(String(repeating: "x", count: 200_000)) }", "at most 131072"),
            ("env: { A: [b] }", "a list"),
        ] {
            let found = problems(Self.head + text)
            #expect(found.count == 1 && found[0].contains(expected), "\(found)")
        }
        var many = "env:\n"
        for index in 0..<20 { many += "  A\(index): \"\(String(repeating: "x", count: 100_000))\"\n" }
        #expect(problems(Self.head + many).first?.contains("at most 1048576") == true)
        let policy = try Policy(
            yaml: Self.head + "env: { A: \"a\\tb\\n\", B: \(String(repeating: "x", count: 100_000)), C: '' }", file: "")
        #expect(
            policy.env["A"] == "a\tb\n" && policy.env["C"]?.isEmpty == true && policy.env["B"]?.utf8.count == 100_000)
    }

    @Test(arguments: [
        "0x1p-1", "+5", "nan", "1e3", "-1", "inf", ".5", "5.", "0x10", "1_0", "٣", "0.5 ", "1.2.3", "1e-1",
    ])
    func numbersArePlainDecimals(text: String) {
        #expect(problems(Self.head + "limits: { cpu: \"\(text)\" }").count == 1)
        #expect(problems(Self.head + "limits: { pids: \"\(text)\" }").count == 1)
        #expect(problems(Self.head + "limits: { memory: \"\(text)MiB\" }").count == 1)
        #expect(problems(Self.head + "egress: { allow: [{ cidr: 192.0.2.7, ports: [\"\(text)\"] }] }").count == 1)
        #expect(problems(Self.head + "egress: { allow: [{ cidr: \"192.0.2.7/\(text)\" }] }").count == 1)
        #expect(problems(Self.head + "limits: { cpu: 0.5, pids: 010, memory: 2MiB }").isEmpty)
    }

    @Test func portListsAreBounded() {
        func rule(_ count: Int) -> String {
            let ports = (1...count).map { "\($0)" }.joined(separator: ",")
            return Self.head + "egress: { allow: [{ cidr: 192.0.2.7, ports: [\(ports)] }] }"
        }
        #expect(problems(rule(1024)).isEmpty)
        #expect(problems(rule(1025)).first?.contains("has 1025 entries; expected at most 1024") == true)
    }

    @Test func oddShortTextsAreRefused() {
        for text in [
            "\u{1}", "a: \u{7}", "\t", "a", "&a", "*a", "%", "!", "{", "\"\\ud800\"", "\"\\u", "'", ":", "|", "- |",
        ] {
            #expect(!problems(text).isEmpty, "\(text)")
            #expect(!problems(Self.head + text).isEmpty || text == "\t", "\(text)")
        }
        #expect(problems("\u{feff}" + Self.head).isEmpty)
    }

    @Test func problemsAreCountedPastTheFirstHundred() {
        let found = problems(Self.head + "env:\n" + (0..<500).map { "  A\($0): []\n" }.joined())
        #expect(found.count == 101 && found[100] == "web.yaml: and 400 more problems")
    }

    @Test func columnsCountCharacters() {
        #expect(problems(Self.head + "env: { \"é\": [] }") == ["web.yaml:3:13: env.é: is a list; expected text"])
    }
}
