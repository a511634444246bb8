/// Reads files of fields and collects every problem on the way. Extensions know the fields of each kind of file.
struct FieldReader {
    let file: String
    private var problems: [PolicyError.Problem] = []
    /// Problems that were found beyond those.
    private var unnamed = 0
    /// Of the text, for columns.
    private var bytes: [UInt8] = []

    init(file: String) {
        self.file = file
    }

    /// Problems that are named one by one.
    static let maximumProblems = 100

    /// The text's value; a problem is noted when it is nil.
    /// - Parameter subject: what it should hold, as in "expected a policy".
    mutating func read(_ text: String, _ subject: String) -> YamlNode? {
        guard text.utf8.count <= Policy.maximumBytes else {
            note(nil, "", "is \(text.utf8.count) bytes long", "at most \(Policy.maximumBytes)")
            return nil
        }
        bytes = Array(text.utf8)
        do throws(YamlError) {
            if let root = try YamlReader.read(text) { return root }
            note(nil, "", "is empty", subject)
        } catch {
            note(at: error.place, "", error.message, error.expected)
        }
        return nil
    }

    // MARK: problems

    /// Throws what was noted, if anything was.
    func finish() throws(PolicyError) {
        guard !problems.isEmpty else { return }
        guard unnamed > 0 else { throw PolicyError(problems: problems) }
        let more = PolicyError.Problem(
            file: file, line: 0, column: 0, field: "", message: "and \(unnamed) more problems", expected: nil)
        throw PolicyError(problems: problems + [more])
    }

    mutating func note(_ node: YamlNode?, _ field: @autoclosure () -> String, _ message: String, _ expected: String?) {
        note(at: node?.place, field(), message, expected)
    }

    private mutating func note(
        at place: YamlNode.Place?, _ field: @autoclosure () -> String, _ message: String, _ expected: String?
    ) {
        guard problems.count < Self.maximumProblems else {
            unnamed += 1
            return
        }
        var column = 0
        if let place {
            let before = bytes.prefix(place.offset)
            let line = before.lastIndex(of: 0x0a).map { before[($0 + 1)...] } ?? before
            // Characters, not bytes.
            column = line.count { $0 & 0xc0 != 0x80 } + 1
        }
        problems.append(
            PolicyError.Problem(
                file: file, line: place?.line ?? 0, column: column, field: field(), message: message, expected: expected
            ))
    }

    /// A text in quotes, cut short when it is long.
    func quoted(_ text: String) -> String {
        text.utf8.count <= 80 ? "\"\(text)\"" : "\"\(text.prefix(64))...\" (\(text.utf8.count) bytes)"
    }

    mutating func notSupported(_ node: YamlNode, _ field: String) {
        note(node, field, "not supported yet: \(field)", nil)
    }

    // MARK: kinds of nodes

    typealias Fields = [YamlNode.Entry]

    mutating func mapping(_ node: YamlNode, _ field: @autoclosure () -> String) -> Fields? {
        guard case .mapping(let entries) = node.value else {
            note(node, field(), "is \(kind(node))", "a mapping")
            return nil
        }
        return entries
    }

    mutating func sequence(_ node: YamlNode, _ field: @autoclosure () -> String) -> [YamlNode]? {
        guard case .sequence(let nodes) = node.value else {
            note(node, field(), "is \(kind(node))", "a list")
            return nil
        }
        return nodes
    }

    mutating func string(_ node: YamlNode, _ field: @autoclosure () -> String, _ expected: String) -> String? {
        guard case .scalar(let text, _) = node.value, !isNull(node) else {
            note(node, field(), "is \(kind(node))", expected)
            return nil
        }
        return text
    }

    private func isNull(_ node: YamlNode) -> Bool {
        guard case .scalar(let text, isPlain: true) = node.value else { return false }
        return ["", "~", "null", "Null", "NULL"].contains(text)
    }

    func kind(_ node: YamlNode) -> String {
        switch node.value {
        case .scalar(let text, _): isNull(node) ? "empty" : quoted(text)
        case .mapping: "a mapping"
        case .sequence: "a list"
        }
    }

    mutating func unknown(_ key: String, _ node: YamlNode, _ parent: String, _ known: [String]) {
        let field = path(parent, key)
        note(node, field, "is no field of a policy", known.joined(separator: ", "))
    }

    func path(_ parent: String, _ key: String) -> String { parent.isEmpty ? key : "\(parent).\(key)" }
}
