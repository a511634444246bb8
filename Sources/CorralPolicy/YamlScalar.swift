/// Text: plain, quoted, and after | or >.
extension YamlReader {
    /// One that is not block text.
    mutating func scalar(inFlow: Bool) throws(YamlError) -> YamlNode.Value {
        switch peek() {
        case UInt8(ascii: "\""): return .scalar(try doubleQuoted(), isPlain: false)
        case UInt8(ascii: "'"): return .scalar(try singleQuoted(), isPlain: false)
        default: return .scalar(try plain(inFlow: inFlow), isPlain: true)
        }
    }

    private func utf8(_ slice: ArraySlice<UInt8>) -> String { String(decoding: slice, as: UTF8.self) }

    // MARK: plain

    private func refuseIndicator(inFlow: Bool) throws(YamlError) {
        let quotes = "quotes around the text"
        switch peek() {
        case UInt8(ascii: "&"): throw failure("an anchor", "the value itself, or \(quotes)")
        case UInt8(ascii: "*"): throw failure("an alias", "the value itself, or \(quotes)")
        case UInt8(ascii: "!"): throw failure("a tag", "the value alone, or \(quotes)")
        case UInt8(ascii: "?"): throw failure("text begins with ?", quotes)
        case UInt8(ascii: "-") where Self.isBlankOrEnd(peek(1)) || (inFlow && Self.isFlowIndicator(peek(1))):
            throw failure("a - alone", quotes)
        case UInt8(ascii: ":") where inFlow || Self.isBlankOrEnd(peek(1)):
            throw failure("text begins with :", "\(quotes), or a key before the colon")
        case UInt8(ascii: "%"), UInt8(ascii: "@"), UInt8(ascii: "`"), UInt8(ascii: "|"), UInt8(ascii: ">"),
            UInt8(ascii: "#"):
            throw failure("text begins with \(utf8([peek()]))", quotes)
        case let byte where Self.isFlowIndicator(byte):
            throw failure("a \(utf8([byte])) out of place", "a value, or \(quotes)")
        default: break
        }
    }

    private mutating func plain(inFlow: Bool) throws(YamlError) -> String {
        try refuseIndicator(inFlow: inFlow)
        let start = position
        var end = position
        scan: while true {
            let byte = peek()
            switch byte {
            case 0, 0x0a, 0x0d: break scan
            case 0x20, 0x09:
                position += 1
                if peek() == UInt8(ascii: "#") { break scan }
                continue
            case UInt8(ascii: ":"):
                if Self.isBlankOrEnd(peek(1)) || (inFlow && Self.isFlowIndicator(peek(1))) { break scan }
            case let byte where inFlow && Self.isFlowIndicator(byte): break scan
            default: break
            }
            position += 1
            end = position
        }
        position = end
        return utf8(bytes[start..<end])
    }

    // MARK: quoted

    /// Over a line break inside quotes: blanks around it go, one break is a space, further ones stay.
    /// - Parameter isEscaped: a backslash stands before the break, which then is nothing.
    private mutating func fold(into text: inout [UInt8], isEscaped: Bool, _ open: YamlNode.Place) throws(YamlError) {
        skipBreak()
        var further = 0
        while true {
            guard !isAtDocumentMark else { throw unclosed(open) }
            skipSpaces(andTabs: true)
            guard Self.isBreakOrEnd(peek()), !isAtEnd else { break }
            skipBreak()
            further += 1
        }
        if further > 0 {
            text.append(contentsOf: repeatElement(0x0a, count: further))
        } else if !isEscaped {
            text.append(0x20)
        }
    }

    private func unclosed(_ open: YamlNode.Place) -> YamlError {
        failure("a quote has no end", "the same quote again", at: open)
    }

    private mutating func singleQuoted() throws(YamlError) -> String {
        let open = place
        position += 1
        var text: [UInt8] = []
        // Blanks that go away if a line break follows.
        var blanks = 0
        while true {
            let byte = peek()
            switch byte {
            case 0x0a, 0x0d:
                text.removeLast(blanks)
                blanks = 0
                try fold(into: &text, isEscaped: false, open)
                continue
            case 0: throw unclosed(open)
            case UInt8(ascii: "'"):
                position += 1
                guard peek() == UInt8(ascii: "'") else { return utf8(text[...]) }
            default: break
            }
            blanks = byte == 0x20 || byte == 0x09 ? blanks + 1 : 0
            text.append(byte)
            position += 1
        }
    }

    private mutating func doubleQuoted() throws(YamlError) -> String {
        let open = place
        position += 1
        let start = position
        while peek() != UInt8(ascii: "\"") && peek() != UInt8(ascii: "\\") && !Self.isBreakOrEnd(peek()) {
            position += 1
        }
        var text = Array(bytes[start..<position])
        var blanks = text.reversed().prefix { $0 == 0x20 || $0 == 0x09 }.count
        while true {
            let byte = peek()
            switch byte {
            case 0x0a, 0x0d:
                text.removeLast(blanks)
                blanks = 0
                try fold(into: &text, isEscaped: false, open)
            case 0: throw unclosed(open)
            case UInt8(ascii: "\""):
                position += 1
                return utf8(text[...])
            case UInt8(ascii: "\\"):
                blanks = 0
                if peek(1) == 0x0a || peek(1) == 0x0d {
                    position += 1
                    try fold(into: &text, isEscaped: true, open)
                } else {
                    text.append(contentsOf: String(try escape()).utf8)
                }
            default:
                blanks = byte == 0x20 || byte == 0x09 ? blanks + 1 : 0
                text.append(byte)
                position += 1
            }
        }
    }

    private static let escapes: [UInt8: Unicode.Scalar] = [
        UInt8(ascii: "0"): "\0", UInt8(ascii: "a"): "\u{7}", UInt8(ascii: "b"): "\u{8}", UInt8(ascii: "t"): "\t",
        UInt8(ascii: "n"): "\n", UInt8(ascii: "v"): "\u{b}", UInt8(ascii: "f"): "\u{c}", UInt8(ascii: "r"): "\r",
        UInt8(ascii: "e"): "\u{1b}", 0x20: " ", 0x09: "\t", UInt8(ascii: "\""): "\"", UInt8(ascii: "/"): "/",
        UInt8(ascii: "\\"): "\\", UInt8(ascii: "N"): "\u{85}", UInt8(ascii: "_"): "\u{a0}",
        UInt8(ascii: "L"): "\u{2028}", UInt8(ascii: "P"): "\u{2029}",
    ]

    /// At the backslash.
    private mutating func escape() throws(YamlError) -> Unicode.Scalar {
        let start = place
        position += 1
        let letter = peek()
        position += 1
        if let scalar = Self.escapes[letter] { return scalar }
        let unknown = failure(
            "no escape of YAML", "one such as \\n, \\\", \\\\ or \\u00e9; single quotes take a \\ as it is", at: start)
        let digits: Int
        switch letter {
        case UInt8(ascii: "x"): digits = 2
        case UInt8(ascii: "u"): digits = 4
        case UInt8(ascii: "U"): digits = 8
        default: throw unknown
        }
        guard var value = hexadecimal(digits) else { throw unknown }
        // JSON writes what lies past U+FFFF as two surrogates.
        if letter == UInt8(ascii: "u"), 0xd800..<0xdc00 ~= value, peek() == UInt8(ascii: "\\"), peek(1) == letter {
            position += 2
            guard let low = hexadecimal(4), 0xdc00..<0xe000 ~= low else { throw unknown }
            value = 0x10000 + (value - 0xd800) << 10 + (low - 0xdc00)
        }
        guard let scalar = Unicode.Scalar(value) else { throw unknown }
        return scalar
    }

    private mutating func hexadecimal(_ count: Int) -> UInt32? {
        var value: UInt32 = 0
        for _ in 0..<count {
            guard let digit = Character(Unicode.Scalar(peek())).hexDigitValue else { return nil }
            value = value << 4 | UInt32(digit)
            position += 1
        }
        return value
    }

    // MARK: after | and >

    /// - Parameter parent: column of the collection around it; -1 for none.
    mutating func blockText(parent: Int) throws(YamlError) -> YamlNode {
        let start = place
        let folds = peek() == UInt8(ascii: ">")
        position += 1
        var keeps: Bool?
        var indent = 0
        header: while true {
            switch peek() {
            case UInt8(ascii: "+") where keeps == nil: keeps = true
            case UInt8(ascii: "-") where keeps == nil: keeps = false
            case UInt8(ascii: "1")...UInt8(ascii: "9") where indent == 0:
                indent = max(parent, 0) + Int(peek() - 0x30)
            default: break header
            }
            position += 1
        }
        guard skipToLineEnd() else {
            throw failure("something follows \(folds ? ">" : "|")", "a new line, or quotes around the text")
        }
        skipBreak()

        var text: [UInt8] = []
        var breaks = try blankLines(&indent, parent)
        var hasBreak = false
        var wasIndented = false
        while column == indent, !isAtEnd {
            let isIndented = peek() == 0x20 || peek() == 0x09
            // A single break between two lines at the indentation is a space when text is folded.
            if folds && hasBreak && !wasIndented && !isIndented {
                if breaks == 0 { text.append(0x20) }
            } else if hasBreak {
                text.append(0x0a)
            }
            text.append(contentsOf: repeatElement(0x0a, count: breaks))
            wasIndented = isIndented
            let from = position
            while !Self.isBreakOrEnd(peek()) { position += 1 }
            text.append(contentsOf: bytes[from..<position])
            hasBreak = !isAtEnd
            skipBreak()
            breaks = try blankLines(&indent, parent)
        }
        if keeps != false && hasBreak { text.append(0x0a) }
        if keeps == true { text.append(contentsOf: repeatElement(0x0a, count: breaks)) }
        // Back to the start of the line, for whoever reads its indentation next.
        if !isAtEnd { position = lineStart }
        return YamlNode(value: .scalar(utf8(text[...]), isPlain: false), place: start)
    }

    /// Over empty lines and the indentation of the next one; their number. An indentation of 0 is settled by that line.
    private mutating func blankLines(_ indent: inout Int, _ parent: Int) throws(YamlError) -> Int {
        var count = 0
        var widest = 0
        while true {
            while peek() == 0x20 && (indent == 0 || column < indent) { position += 1 }
            widest = max(widest, column)
            if peek() == 0x09 && (indent == 0 || column < indent) {
                throw failure("a tab indents this line", "spaces")
            }
            guard Self.isBreakOrEnd(peek()), !isAtEnd else { break }
            skipBreak()
            count += 1
        }
        if indent == 0 { indent = max(widest, max(parent, 0) + (parent < 0 ? 0 : 1), 1) }
        return count
    }
}
