import RandomPolicies
import Testing
import Yams

@testable import CorralPolicy

/// The reader against libyaml: what it accepts means the same to both.
@Suite struct YamlReaderTests {
    /// libyaml's tree in the reader's terms.
    private static func libyaml(_ text: String) throws -> YamlNode.Value? {
        // Padding: Yams keeps a pointer into the text, which one of up to 15 bytes does not outlive.
        try Yams.compose(yaml: "# at least 16 bytes\n" + text, .basic).map(value)
    }

    private static func value(_ node: Yams.Node) -> YamlNode.Value {
        switch node {
        case .scalar(let scalar): .scalar(scalar.string, isPlain: scalar.style == .plain)
        case .sequence(let sequence): .sequence(sequence.map { wrapped(value($0)) })
        case .mapping(let mapping):
            .mapping(mapping.map { YamlNode.Entry(key: $0.key.string ?? "?", value: wrapped(value($0.value))) })
        case .alias: .scalar("an alias", isPlain: true)
        }
    }

    private static func wrapped(_ value: YamlNode.Value) -> YamlNode {
        YamlNode(value: value, place: YamlNode.Place(line: 0, offset: 0))
    }

    private static func placeless(_ node: YamlNode) -> YamlNode {
        switch node.value {
        case .scalar: wrapped(node.value)
        case .sequence(let nodes): wrapped(.sequence(nodes.map(placeless)))
        case .mapping(let entries):
            wrapped(.mapping(entries.map { YamlNode.Entry(key: $0.key, value: placeless($0.value)) }))
        }
    }

    private static func read(_ text: String) throws(CorralPolicy.YamlError) -> YamlNode.Value? {
        try YamlReader.read(text).map { placeless($0).value }
    }

    @Test(arguments: [
        "a: 1", "a:\n  b: c\n  d:\n    - e\n    - f: g\n      h: i\nj:\n- k\n- l\n", "- - - a\n    - b\n  - c\n- d",
        "{a: [1, \"two\", 'three'], \"b\":1, c: {}, d: [], e: }", "[\n\t1,\n\t2, # two\n]",
        "# only\n---\na: b # c\n...\n",
        "a: |\n  one\n   two\n\n  three\n\n\nb: |-\n  x\nc: |+\n  y\n\nd: |2\n    z\n",
        "a: >\n  one\n  two\n\n  three\n    four\n  five\n",
        "a: >-\n\n  one\n\n\n  two\n", "a: \"one\n  two\n\n  three \\\n  four\\n\\x41\\u00e9\"", "a: 'it''s\n\n  so'",
        "cidr: 2001:db8::/32", "[2001:db8::/32, http://x/?a=1&b=*2, a#b]", "a: b#c #d", "\"a b\": 'c'",
        "a:\n\nb:\n- \n- c\n",
        "a: -1\nb: - ", "a: x: y", "  a: b\n  c: d", "a: b\r\nc:\r\n  - d\r\n", "? a\n: b", "-a: ?b", "a: |",
        "|\n text\n", "a: \"\"",
        "- |\n  x\n- >\n y", "- a: |\n    x\n  b: y", "a:   \t# c\n  b: c", "a: [x\n,y]\nb: {c:\n d}", "\"\\ud83d\"",
        "---\n- a",
        "a: 'x' # y", "'a': b\n\"c\" : d", "a : b", "a: ~\nb: null", "- |", "- >\n  x", "- |+", "- a: |2", "é: ü",
        "{a: b, }", "a: [[[[]]]]",
    ])
    func meansWhatItMeansToLibyaml(text: String) throws {
        let expected = try? Self.libyaml(text)
        // What libyaml refuses is refused.
        guard let expected else {
            #expect(throws: CorralPolicy.YamlError.self) { try Self.read(text) }
            return
        }
        if let read = try? Self.read(text) { #expect(read == expected) }
    }

    /// Texts of random pieces: most are no YAML, and those that are go through every branch.
    @Test func whatIsAcceptedMeansTheSameToLibyaml() throws {
        let pieces = [
            "a", "b: ", "c:", ": ", "- ", "-", "\n", "\n  ", "\n    ", " ", "\t", "[", "]", "{", "}", ", ", ",", "\"",
            "'", "\\n",
            "\\", "# x", "#", "|", ">", "|-\n", ">+\n", "|2\n", "?", "? ", "&a ", "*a", "!t ", "%", "@", "---",
            "\n---\n", "...",
            "\n...\n", "a: b", "\n- c", "\n  d: e", "key: ", "\r\n", "é", "<<: ", "1", "~", "\n\n", "\n   x", ":",
            "::1",
        ]
        var random = SplitMix64(state: 5)
        var accepted = 0
        var kinds: [String: Int] = [:]
        for _ in 0..<400_000 {
            let count = Int.random(in: 1...14, using: &random)
            var text = ""
            for _ in 0..<count { text += pieces[Int.random(in: 0..<pieces.count, using: &random)] }
            guard let read = try? Self.read(text) else { continue }
            accepted += 1
            switch read {
            case .scalar: kinds["scalar", default: 0] += 1
            case .sequence: kinds["sequence", default: 0] += 1
            case .mapping: kinds["mapping", default: 0] += 1
            }
            guard let expected = try? Self.libyaml(text) else {
                Issue.record("libyaml refuses \(text.debugDescription), read as \(read)")
                continue
            }
            #expect(read == expected, "\(text.debugDescription)")
        }
        #expect(accepted > 10_000)
        for kind in ["scalar", "sequence", "mapping"] { #expect(kinds[kind, default: 0] > 1_000, "\(kind)") }
    }

    @Test(arguments: [
        ("a: &x 1", 1, "an anchor"), ("a: *x", 1, "an alias"), ("a:\n  - !!str b", 2, "a tag"),
        ("? a\n: b", 1, "begins with ?"),
        ("%YAML 1.2\n---\na: b", 1, "a directive"), ("a: b\n---\nc: d", 2, "second document"),
        ("a:\n\tb: c", 2, "a tab"),
        ("a: one\n  two", 2, "continues nothing"), ("a: b: c", 1, "a second :"), ("a: 1\na: 2", 2, "stands twice"),
        ("<<: {}", 1, "merge key"),
        ("a: \"b", 1, "no end"), ("a: [b", 1, "inside a bracket"), ("a: \u{7}", 1, "control character"),
        ("a: \u{2028}", 1, "control character"),
    ])
    func refusesWithPlaceAndReason(text: String, line: Int, message: String) throws {
        let error = try #require(throws: CorralPolicy.YamlError.self) { try Self.read(text) }
        #expect(error.place.line == line && error.message.contains(message), "\(error)")
    }

    @Test func readsQuotedAndCommentedSignsAsText() throws {
        let text = "a: \"&x *y !z\" # &x [[[[\nb: '*y'\nc: x&y*z\nd: |\n  &x\n  *y [[[[[[[[[[\n"
        #expect(try Self.read(text) == Self.libyaml(text))
        let brackets = String(repeating: "[", count: 1_000)
        #expect(try Self.read("a: \"\(brackets)\" # \(brackets)\n") == Self.libyaml("a: \"\(brackets)\"\n"))
    }

    @Test func depthIsBounded() throws {
        func nested(_ depth: Int) -> String {
            String(repeating: "[", count: depth) + String(repeating: "]", count: depth)
        }
        _ = try Self.read(nested(YamlReader.maximumDepth - 1))
        for text in [
            nested(YamlReader.maximumDepth), nested(1_000_000), String(repeating: "- ", count: 1_000_000),
            String(repeating: "[", count: 1_000_000), String(repeating: "{a: ", count: 100_000),
        ] {
            #expect(throws: CorralPolicy.YamlError.self) { try Self.read(text) }
        }
    }

    @Test func surrogatePairsOfJSONAreOneCharacter() throws {
        #expect(try Self.read("\"\\ud83d\\ude00\"") == .scalar("😀", isPlain: false))
        #expect(throws: CorralPolicy.YamlError.self) { try Self.read("\"\\ud83d\"") }
    }
}
