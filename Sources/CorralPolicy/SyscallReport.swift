extension SyscallProfile.Answer {
    /// For tables and differences.
    public var text: String {
        switch self {
        case .allowed: "allowed"
        case .refused: "EPERM"
        case .absent: "ENOSYS"
        case .killed: "killed"
        case .logged: "allowed, logged"
        }
    }
}

extension SyscallProfile.Rule {
    public var text: String {
        guard let condition else { return answer.text }
        return "\(answer.text): \(condition.text); else EPERM"
    }
}

extension SyscallProfile: CustomStringConvertible {
    /// Names of x86-64 by what becomes of them, whatever their arguments are; sorted.
    public func calls(_ answer: Answer) -> [String] {
        SyscallTable.names(.amd64).keys.filter {
            let rule = rule(for: $0)
            return rule.answer == answer && rule.condition == nil
        }.sorted()
    }

    /// Calls whose arguments decide, sorted by name.
    public var conditional: [(call: String, rule: Rule)] {
        rules.filter { $0.value.condition != nil && $0.value.answer.isPermitted }.sorted { $0.key < $1.key }
            .map { ($0.key, $0.value) }
    }

    /// Every call of x86-64, by what becomes of it. Ends without a line break.
    public var description: String {
        var lines = ["calls of i386 and x32: ENOSYS"]
        for answer in Answer.allCases {
            let calls = calls(answer)
            guard !calls.isEmpty else { continue }
            lines.append("\(answer.text) (\(calls.count)):")
            lines += Self.wrapped(calls)
        }
        let conditional = conditional
        if !conditional.isEmpty { lines.append("decided by arguments (\(conditional.count)):") }
        for (call, rule) in conditional { lines.append("  \(call): \(rule.text)") }
        if !fallback.isPermitted { lines.append("numbers above \(Self.newestCall): ENOSYS") }
        return lines.joined(separator: "\n")
    }

    private static func wrapped(_ words: [String]) -> [String] {
        var lines: [String] = []
        var line = " "
        for word in words {
            if line.utf8.count + word.utf8.count > 100 {
                lines.append(line)
                line = " "
            }
            line += " \(word)"
        }
        return lines + [line]
    }
}

/// Calls that one policy treats alike and the next one alike, and otherwise than before.
public struct SyscallChange: Sendable, Equatable, Encodable {
    /// Sorted.
    public var calls: [String]
    /// As `SyscallProfile.Rule.text` writes it.
    public var before: String
    public var after: String

    static func changes(from old: SyscallPolicy, to new: SyscallPolicy) -> [SyscallChange] {
        guard old != new else { return [] }
        let (before, after) = (old.resolved, new.resolved)
        var calls: [[String]: [String]] = [:]
        for call in SyscallTable.names(.amd64).keys where before.rule(for: call) != after.rule(for: call) {
            calls[[before.rule(for: call).text, after.rule(for: call).text], default: []].append(call)
        }
        return calls.map { SyscallChange(calls: $0.value.sorted(), before: $0.key[0], after: $0.key[1]) }
            .sorted { ($0.before, $0.after) < ($1.before, $1.after) }
    }
}
