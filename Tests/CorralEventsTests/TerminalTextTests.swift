import CorralEvents
import Testing

@Suite struct TerminalTextTests {
    @Test(arguments: ["", "plain text", "grüße 你好 😀", "a\"b'c"])
    func ordinaryTextIsLeftAlone(text: String) {
        #expect(TerminalText.neutralised(text) == text)
    }

    @Test(arguments: [
        ("\u{1b}[31m", "\\x1b[31m"), ("a\nb\r\tc", "a\\x0ab\\x0d\\x09c"), ("\u{7f}\u{80}\u{9f}", "\\x7f\\x80\\x9f"),
        ("\\x1b", "\\\\x1b"),
        ("\u{200b}\u{2028}\u{2066}\u{feff}", "\\u{200b}\\u{2028}\\u{2066}\\u{feff}"),
        ("\u{e000}\u{e0041}", "\\u{e000}\\u{e0041}"),
    ])
    func whatATerminalMightObeyIsWrittenOut(text: String, expected: String) {
        #expect(TerminalText.neutralised(text) == expected)
    }

    @Test(arguments: [
        ("ls", "ls"), ("a b", "\"a b\""), ("", "\"\""), ("a\"b", "\"a\\\"b\""), ("/bin/x-1=2", "/bin/x-1=2"),
        ("\u{1b}", "\"\\x1b\""),
    ])
    func wordsOfACommandAreQuotedWhenTheyMust(text: String, expected: String) {
        #expect(TerminalText.quoted(text) == expected)
    }
}
