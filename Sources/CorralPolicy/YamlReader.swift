/// Reads the part of YAML 1.2 that configuration is written in, JSON included: block and flow collections, plain, quoted
/// and block text, comments. Refused, never guessed at: anchors, aliases, tags, directives, several documents, keys that
/// are not words, plain text of several lines. Work is linear in the text and recursion is bounded.
/// What it accepts means what it means to every YAML reader; a test holds it to libyaml. docs/decisions/0001-yaml-reader.md says why.
struct YamlReader {
    /// Collections in collections, deeper than any configuration needs.
    static let maximumDepth = 32
    /// Bytes of a key.
    static let maximumKey = 1024

    let bytes: [UInt8]
    var position = 0
    var line = 1
    var lineStart = 0
    private var depth = 0

    init(_ text: String) {
        bytes = Array(text.utf8)
    }

    /// The text's one document; nil when it holds nothing but comments.
    static func read(_ text: String) throws(YamlError) -> YamlNode? {
        var reader = YamlReader(text)
        return try reader.document()
    }

    // MARK: bytes

    var column: Int { position - lineStart }
    var place: YamlNode.Place { YamlNode.Place(line: line, offset: position) }

    /// 0 past the end, which no text holds.
    func peek(_ ahead: Int = 0) -> UInt8 {
        position + ahead < bytes.count ? bytes[position + ahead] : 0
    }

    var isAtEnd: Bool { position >= bytes.count }

    static func isBreakOrEnd(_ byte: UInt8) -> Bool { byte == 0x0a || byte == 0x0d || byte == 0 }
    static func isBlankOrEnd(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || isBreakOrEnd(byte) }

    static func isFlowIndicator(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: ","), UInt8(ascii: "["), UInt8(ascii: "]"), UInt8(ascii: "{"), UInt8(ascii: "}"): true
        default: false
        }
    }

    func failure(_ message: String, _ expected: String, at place: YamlNode.Place? = nil) -> YamlError {
        YamlError(place: place ?? self.place, message: message, expected: expected)
    }

    /// Over a line break, if one is here.
    mutating func skipBreak() {
        if peek() == 0x0d { position += 1 }
        guard peek() == 0x0a else { return }
        position += 1
        line += 1
        lineStart = position
    }

    mutating func skipSpaces(andTabs: Bool) {
        while peek() == 0x20 || (andTabs && peek() == 0x09) { position += 1 }
    }

    /// Spaces and tabs, then a comment, if one is there. False when something else follows.
    mutating func skipToLineEnd() -> Bool {
        let start = position
        skipSpaces(andTabs: true)
        if peek() == UInt8(ascii: "#") && (position > start || column == 0) {
            while !Self.isBreakOrEnd(peek()) { position += 1 }
        }
        return Self.isBreakOrEnd(peek())
    }

    /// To the next thing that is no comment, on a line of its own. The indentation before it is the column.
    mutating func skipToContent() throws(YamlError) {
        while !isAtEnd {
            skipSpaces(andTabs: false)
            if peek() == 0x09 { throw failure("a tab indents this line", "spaces") }
            if peek() == UInt8(ascii: "#") { _ = skipToLineEnd() }
            guard Self.isBreakOrEnd(peek()), !isAtEnd else { return }
            skipBreak()
        }
    }

    /// `---` or `...` at the start of a line.
    var isAtDocumentMark: Bool {
        guard column == 0, peek() == UInt8(ascii: "-") || peek() == UInt8(ascii: ".") else { return false }
        return peek(1) == peek() && peek(2) == peek() && Self.isBlankOrEnd(peek(3))
    }

    var isAtEntry: Bool { peek() == UInt8(ascii: "-") && Self.isBlankOrEnd(peek(1)) }

    // MARK: the document

    private mutating func document() throws(YamlError) -> YamlNode? {
        try refuseControlCharacters()
        if bytes.starts(with: [0xef, 0xbb, 0xbf]) {
            position = 3
            lineStart = 3
        }
        try skipToContent()
        if peek() == UInt8(ascii: "%") && column == 0 { throw failure("a directive", "the policy itself") }
        if isAtDocumentMark && peek() == UInt8(ascii: "-") {
            position += 3
            guard skipToLineEnd() else { throw failure("something follows ---", "a new line") }
            try skipToContent()
        }
        guard !isAtEnd, !isAtDocumentMark else {
            guard isAtEnd else { throw failure("an empty document", "a policy") }
            return nil
        }
        let root = try blockNode(parent: -1)
        try skipToContent()
        if isAtDocumentMark && peek() == UInt8(ascii: ".") {
            position += 3
            guard skipToLineEnd() else { throw failure("something follows ...", "the end of the text") }
            try skipToContent()
        }
        if isAtEnd { return root }
        if isAtDocumentMark { throw failure("a second document begins here", "one document a text") }
        throw unexpectedLine()
    }

    /// Characters that YAML does not permit, and those that readers of different versions take differently for line breaks.
    private func refuseControlCharacters() throws(YamlError) {
        var line = 1
        for (offset, byte) in bytes.enumerated() {
            var isRefused = false
            switch byte {
            case 0x0a: line += 1
            case 0x09, 0x20...0x7e: break
            case 0x0d: isRefused = offset + 1 >= bytes.count || bytes[offset + 1] != 0x0a
            case ..<0x20, 0x7f: isRefused = true
            // U+0080...U+009F
            case 0xc2: isRefused = offset + 1 < bytes.count && bytes[offset + 1] < 0xa0
            // U+2028, U+2029
            case 0xe2:
                isRefused =
                    offset + 2 < bytes.count && bytes[offset + 1] == 0x80 && bytes[offset + 2] & 0xfe == 0xa8
            // U+FEFF but at the start, U+FFFE, U+FFFF
            case 0xef:
                guard offset + 2 < bytes.count else { break }
                let rest = (bytes[offset + 1], bytes[offset + 2])
                isRefused = (rest == (0xbb, 0xbf) && offset > 0) || (rest.0 == 0xbf && rest.1 >= 0xbe)
            default: break
            }
            if isRefused {
                throw YamlError(
                    place: YamlNode.Place(line: line, offset: offset), message: "a control character",
                    expected: "text, or an escape such as \"\\u0007\" in double quotes")
            }
        }
    }

    // MARK: block collections

    /// A line that fits no collection that is open.
    private func unexpectedLine() -> YamlError {
        failure(
            "this line continues nothing",
            "the indentation of the lines that it belongs to; text of several lines goes in quotes or after |")
    }

    private mutating func descend() throws(YamlError) {
        depth += 1
        if depth > Self.maximumDepth {
            throw failure("is nested too deeply", "at most \(Self.maximumDepth) levels")
        }
    }

    /// The value at the present place, which lies right of `parent`, the column of the collection around it.
    private mutating func blockNode(parent: Int) throws(YamlError) -> YamlNode {
        try descend()
        defer { depth -= 1 }
        if isAtEntry { return try blockSequence(column: column) }
        let start = place
        let indent = column
        let node = try inlineNode(parent: parent)
        // Block text ends at the start of a line.
        if column == 0 { return node }
        let afterNode = position
        skipSpaces(andTabs: true)
        if peek() == UInt8(ascii: ":"), Self.isBlankOrEnd(peek(1)), line == start.line {
            let key = try key(node, end: afterNode)
            return try blockMapping(first: key, at: start, column: indent)
        }
        position = afterNode
        guard skipToLineEnd() else { throw leftover(after: node) }
        return node
    }

    /// Text, or a flow collection: what may stand behind a key on its line.
    private mutating func inlineNode(parent: Int) throws(YamlError) -> YamlNode {
        let start = place
        switch peek() {
        case UInt8(ascii: "["), UInt8(ascii: "{"): return try flowNode()
        case UInt8(ascii: "|"), UInt8(ascii: ">"): return try blockText(parent: parent)
        default: return YamlNode(value: try scalar(inFlow: false), place: start)
        }
    }

    private func leftover(after node: YamlNode) -> YamlError {
        if peek() == UInt8(ascii: ":") {
            return failure(
                "a second : in one line", "one key a line, and quotes around text that ends in : or holds \": \"")
        }
        if peek() == UInt8(ascii: "#") {
            return failure("a # that touches what is before it", "a space before a comment")
        }
        return failure("something follows a value", "a new line")
    }

    private func key(_ node: YamlNode, end: Int) throws(YamlError) -> String {
        guard case .scalar(let text, _) = node.value else {
            throw failure("a key is a collection", "a word", at: node.place)
        }
        guard end - node.place.offset <= Self.maximumKey else {
            throw failure(
                "a key is \(end - node.place.offset) bytes long", "at most \(Self.maximumKey)", at: node.place)
        }
        // A merge key changes what a mapping holds.
        guard node.value != .scalar("<<", isPlain: true) else {
            throw failure("a merge key", "the keys themselves", at: node.place)
        }
        return text
    }

    private mutating func blockMapping(first: String, at start: YamlNode.Place, column indent: Int) throws(YamlError)
        -> YamlNode
    {
        var entries: [YamlNode.Entry] = []
        var seen = UniqueKeys()
        var key = first
        var keyPlace = start
        while true {
            guard seen.insert(key, after: entries) else { throw repeated(key, at: keyPlace) }
            entries.append(YamlNode.Entry(key: key, value: try valueOfKey(indent: indent)))
            try skipToContent()
            guard !isAtEnd, column >= indent, !isAtDocumentMark else { break }
            guard column == indent, !isAtEntry else { throw unexpectedLine() }
            keyPlace = place
            let node = try inlineNode(parent: indent)
            let end = position
            guard line == keyPlace.line else { throw failure("a key of several lines", "a word", at: keyPlace) }
            skipSpaces(andTabs: true)
            guard peek() == UInt8(ascii: ":"), Self.isBlankOrEnd(peek(1)) else {
                throw failure("a key without a : after it", "\"key: value\"", at: keyPlace)
            }
            key = try self.key(node, end: end)
        }
        return YamlNode(value: .mapping(entries), place: start)
    }

    private func repeated(_ key: String, at place: YamlNode.Place) -> YamlError {
        failure("the key \(key) stands twice in one mapping", "each key once", at: place)
    }

    /// At the `:`.
    private mutating func valueOfKey(indent: Int) throws(YamlError) -> YamlNode {
        position += 1
        let start = place
        if !skipToLineEnd() {
            if isAtEntry { throw failure("a list begins behind a key", "a new line before it, or [ ]") }
            let node = try inlineNode(parent: indent)
            // Block text ends at the start of a line.
            guard column == 0 || skipToLineEnd() else { throw leftover(after: node) }
            return node
        }
        let empty = YamlNode(value: .scalar("", isPlain: true), place: start)
        try skipToContent()
        guard !isAtEnd, !isAtDocumentMark else { return empty }
        if column > indent { return try blockNode(parent: indent) }
        // A list may stand under its key without indentation.
        guard column == indent, isAtEntry else { return empty }
        try descend()
        defer { depth -= 1 }
        return try blockSequence(column: indent)
    }

    private mutating func blockSequence(column indent: Int) throws(YamlError) -> YamlNode {
        let start = place
        var nodes: [YamlNode] = []
        repeat {
            position += 1
            let here = place
            skipSpaces(andTabs: false)
            if peek() == 0x09 { throw failure("a tab indents this entry", "spaces") }
            if column > indent + 1, peek() == UInt8(ascii: "#") { _ = skipToLineEnd() }
            if !Self.isBreakOrEnd(peek()) {
                nodes.append(try blockNode(parent: indent))
            } else {
                try skipToContent()
                let isInside = !isAtEnd && column > indent && !isAtDocumentMark
                nodes.append(
                    isInside
                        ? try blockNode(parent: indent) : YamlNode(value: .scalar("", isPlain: true), place: here))
            }
            try skipToContent()
            guard isAtEnd || column <= indent else { throw unexpectedLine() }
        } while !isAtEnd && column == indent && isAtEntry && !isAtDocumentMark
        return YamlNode(value: .sequence(nodes), place: start)
    }

    // MARK: flow collections

    /// Over blanks, line breaks and comments between the tokens of a flow collection.
    private mutating func skipInFlow(_ open: YamlNode.Place) throws(YamlError) {
        while true {
            guard skipToLineEnd() else { return }
            guard !isAtEnd else {
                throw failure("the text ends inside a bracket", "its closing bracket", at: open)
            }
            skipBreak()
            guard !isAtDocumentMark else {
                throw failure("the document ends inside a bracket", "its closing bracket", at: open)
            }
        }
    }

    /// At the bracket.
    private mutating func flowNode() throws(YamlError) -> YamlNode {
        try descend()
        defer { depth -= 1 }
        return peek() == UInt8(ascii: "[") ? try flowSequence() : try flowMapping()
    }

    private mutating func flowValue() throws(YamlError) -> YamlNode {
        let start = place
        if peek() == UInt8(ascii: "[") || peek() == UInt8(ascii: "{") { return try flowNode() }
        return YamlNode(value: try scalar(inFlow: true), place: start)
    }

    /// Over the comma; false at the closing bracket, which it goes over too.
    private mutating func continues(_ close: UInt8, _ open: YamlNode.Place) throws(YamlError) -> Bool {
        try skipInFlow(open)
        let byte = peek()
        guard byte == close || byte == UInt8(ascii: ",") else {
            let bracket = close == UInt8(ascii: "]") ? "]" : "}"
            if byte == UInt8(ascii: ":") {
                throw failure("a : without a key of its own", "braces around key and value, or quotes around text")
            }
            throw failure(
                "something follows a value", "a comma or \(bracket); text that holds a bracket or comma goes in quotes")
        }
        position += 1
        return byte != close
    }

    private mutating func flowSequence() throws(YamlError) -> YamlNode {
        let start = place
        let close = UInt8(ascii: "]")
        var nodes: [YamlNode] = []
        position += 1
        repeat {
            try skipInFlow(start)
            if peek() == close {
                position += 1
                break
            }
            nodes.append(try flowValue())
        } while try continues(close, start)
        return YamlNode(value: .sequence(nodes), place: start)
    }

    private mutating func flowMapping() throws(YamlError) -> YamlNode {
        let start = place
        let close = UInt8(ascii: "}")
        var entries: [YamlNode.Entry] = []
        var seen = UniqueKeys()
        position += 1
        repeat {
            try skipInFlow(start)
            if peek() == close {
                position += 1
                break
            }
            let keyPlace = place
            let isQuoted = peek() == 0x22 || peek() == 0x27
            let node = try flowValue()
            let end = position
            skipSpaces(andTabs: true)
            guard peek() == UInt8(ascii: ":"), line == keyPlace.line else {
                throw failure("a key without a : after it", "\"key: value\", with a space", at: keyPlace)
            }
            position += 1
            // JSON puts no space behind a quoted key's colon.
            guard isQuoted || Self.isBlankOrEnd(peek()) || Self.isFlowIndicator(peek()) else {
                throw failure("no space behind :", "a space")
            }
            let key = try key(node, end: end)
            guard seen.insert(key, after: entries) else { throw repeated(key, at: keyPlace) }
            let afterColon = place
            try skipInFlow(start)
            let isEmpty = peek() == close || peek() == UInt8(ascii: ",")
            entries.append(
                YamlNode.Entry(
                    key: key,
                    value: isEmpty ? YamlNode(value: .scalar("", isPlain: true), place: afterColon) : try flowValue()))
        } while try continues(close, start)
        return YamlNode(value: .mapping(entries), place: start)
    }
}

/// Keys that a mapping has; the few of most mappings are looked through without a set.
private struct UniqueKeys {
    private var many: Set<String> = []

    /// False when `key` is among `entries`.
    mutating func insert(_ key: String, after entries: [YamlNode.Entry]) -> Bool {
        guard entries.count >= 12 else { return !entries.contains { $0.key == key } }
        if many.isEmpty { many = Set(entries.map(\.key)) }
        return many.insert(key).inserted
    }
}
