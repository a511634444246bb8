public import CorralPolicy

/// The policy of a sandbox was replaced, or was to be.
public struct PolicyChange: Sendable, Equatable {
    public enum Outcome: Sendable, Equatable {
        /// It is in force.
        case applied
        /// The one before stays in force; one line that says why.
        case refused(String)
    }

    public var outcome: Outcome
    /// Without a rule: the new one, or, where it was refused, the one that stays; nil where that is the deny-all policy.
    public var policy: PolicyReference?
    /// What changes for destinations, one thing a line, at most `mostChanges`: `allowed 203.0.113.0/24 tcp 443`.
    public var changes: [String]
    /// There were more.
    public var isCut: Bool

    public static let mostChanges = 16

    public init(_ outcome: Outcome, policy: PolicyReference?, changes: [String] = [], isCut: Bool = false) {
        self.outcome = outcome
        self.policy = policy
        self.changes = changes
        self.isCut = isCut
    }

    /// `applied web-agent, generation 2: allowed …`, without a line break.
    var line: String {
        let name = policy.map { "\(TerminalText.neutralised($0.name)), generation \($0.generation)" } ?? "deny-all"
        switch outcome {
        case .applied:
            guard !changes.isEmpty else { return "applied \(name)" }
            return "applied \(name): " + changes.map(TerminalText.neutralised).joined(separator: "; ")
                + (isCut ? "; …" : "")
        case .refused(let error): return "refused, \(name) stays: \(TerminalText.neutralised(error))"
        }
    }

    func write(to json: inout JSONWriter) {
        json.key("action")
        switch outcome {
        case .applied: json.string("applied")
        case .refused: json.string("refused")
        }
        policy?.write(to: &json)
        if case .refused(let error) = outcome {
            json.key("error")
            json.string(error)
        }
        if !changes.isEmpty {
            json.key("changes")
            json.strings(changes)
        }
        if isCut {
            json.key("changes_cut")
            json.bool(true)
        }
    }

    init(_ fields: Fields) throws(EventParseError) {
        let outcome: Outcome
        switch try fields.string("action") {
        case "applied": outcome = .applied
        case "refused": outcome = .refused(try fields.string("error"))
        default: throw .field("action", expected: "applied or refused")
        }
        self.init(
            outcome, policy: try fields.optionalObject("policy").map(PolicyReference.init),
            changes: try fields.optionalStrings("changes") ?? [], isCut: try fields.bool("changes_cut"))
    }
}

extension PolicyChange {
    /// What `diff` says, in a few lines.
    public init(applied policy: PolicyReference, _ diff: PolicyDiff?) {
        var changes: [String] = []
        for change in diff?.addresses ?? [] {
            let blocks = change.blocks.prefix(3).joined(separator: ", ") + (change.blocks.count > 3 ? ", …" : "")
            changes.append(Self.line(change.kind, blocks, change.before, change.after))
        }
        for change in diff?.names ?? [] {
            changes.append(Self.line(change.kind, change.domain, change.before, change.after))
        }
        for change in diff?.settings ?? [] {
            changes.append("\(change.field): \(change.before ?? "not set") → \(change.after ?? "not set")")
        }
        let shown = changes.prefix(Self.mostChanges).map { $0.count > 200 ? $0.prefix(199) + "…" : $0 }
        self.init(.applied, policy: policy, changes: shown, isCut: changes.count > Self.mostChanges)
    }

    private static func line(_ kind: PolicyDiff.Kind, _ what: String, _ before: String, _ after: String) -> String {
        switch kind {
        case .allowed: "allowed \(what): \(after)"
        case .refused: "refused \(what)"
        case .wider, .narrower, .changed: "\(kind.rawValue) \(what): \(before) → \(after)"
        }
    }
}
