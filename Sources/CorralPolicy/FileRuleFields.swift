/// The fields `exec`, `read` and `write` under `files`.
extension FieldReader {
    mutating func pathRules(_ node: YamlNode, _ access: FileAccess, _ policy: inout Policy) {
        let field = "files.\(access.rawValue)"
        guard let fields = mapping(node, field) else { return }
        var rules = PathRules()
        for entry in fields {
            let (key, value) = (entry.key, entry.value)
            switch key {
            case "allow": rules.allow = paths(value, "\(field).allow")
            case "deny": rules.deny = paths(value, "\(field).deny")
            default: unknown(key, value, field, ["allow", "deny"])
            }
        }
        if fields.isEmpty { note(node, field, "is empty", "allow or deny, each a list of paths") }
        policy.files.rules[access] = rules
    }

    private mutating func paths(_ node: YamlNode, _ field: String) -> [PathRule] {
        var rules: [PathRule] = []
        for (index, item) in (sequence(node, field) ?? []).enumerated() {
            let field = "\(field)[\(index)]"
            guard let text = string(item, field, PathRule.expected) else { continue }
            if let problem = PathRule.whatIsWrong(with: text) {
                note(item, field, "\(quoted(text)) \(problem)", PathRule.expected)
                continue
            }
            rules.append(PathRule(text, line: item.place.line))
        }
        return rules
    }

    /// What concerns the rules on paths as a whole, once everything is read.
    mutating func checkPathRules(_ node: YamlNode?, _ policy: Policy) {
        let rules = policy.files.rules
        guard !rules.isEmpty else { return }
        if rules.count > PathRule.maximum {
            note(node, "files", "has \(rules.count) rules on paths", "at most \(PathRule.maximum)")
        }
        let profile = policy.syscalls.resolved
        if let call = Policy.FileRules.callsThatMoveFiles.first(where: { profile.rule(for: $0).answer.isPermitted }) {
            note(
                node, rules.firstField ?? "files",
                "does not hold where syscalls permits \(call), which shows files under other paths",
                "syscalls without " + Policy.FileRules.callsThatMoveFiles.joined(separator: ", "))
        }
    }
}
