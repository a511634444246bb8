/// Text from a sandbox or a daemon, made harmless for a terminal.
public enum TerminalText {
    /// `text` with every character that a terminal might obey or that hides or reorders others written out: `\x1b`,
    /// `\u{202e}`. The backslash is doubled, so the result is unambiguous. Never holds a line break.
    public static func neutralised(_ text: String) -> String { printable(text, doublingBackslash: true) }

    /// As `neutralised`, for text that has its own escapes: a backslash stays as it is.
    static func printable(_ text: String) -> String { printable(text, doublingBackslash: false) }

    private static func printable(_ text: String, doublingBackslash: Bool) -> String {
        if text.utf8.allSatisfy({ (0x20...0x7e).contains($0) && ($0 != UInt8(ascii: "\\") || !doublingBackslash) }) {
            return text
        }
        var result = ""
        result.reserveCapacity(text.utf8.count + 16)
        for scalar in text.unicodeScalars {
            if scalar == "\\", doublingBackslash {
                result += "\\\\"
            } else if scalar.value < 0x80 {
                if (0x20...0x7e).contains(scalar.value) {
                    result.unicodeScalars.append(scalar)
                } else {
                    result += "\\x" + hexadecimal(scalar.value, digits: 2)
                }
            } else if isUnsafe(scalar) {
                result +=
                    scalar.value < 0x100
                    ? "\\x" + hexadecimal(scalar.value, digits: 2)
                    : "\\u{" + hexadecimal(scalar.value, digits: 1) + "}"
            } else {
                result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// As `neutralised`, in double quotes unless the text is one plain word; for commands shown as a line.
    public static func quoted(_ text: String) -> String {
        let isPlain = text.utf8.allSatisfy { byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"):
                true
            default: "-_./:=,@%+".utf8.contains(byte)
            }
        }
        if isPlain, !text.isEmpty { return text }
        return "\""
            + neutralised(text).split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\\\"")
            + "\""
    }

    /// C1 controls, direction marks and other invisible format characters, line and paragraph separators.
    public static func isUnsafe(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .privateUse, .unassigned: true
        default: false
        }
    }

    static func hexadecimal(_ value: UInt32, digits: Int) -> String {
        let text = String(value, radix: 16)
        return String(repeating: "0", count: max(0, digits - text.count)) + text
    }
}
