/// A path that the rules under `files` refused, as far as it is known: the source of hints about paths, for events and for
/// `corral policy explain`.
public struct PathRefusal: Sendable, Equatable {
    public var access: FileAccess
    public var reason: Reason
    public var rule: PathRuleReference?
    /// Nil: it has none.
    public var path: String?
    /// A directory was to be moved that holds what `rule` names.
    public var isAbove = false

    public init(_ access: FileAccess, reason: Reason, rule: PathRuleReference? = nil, path: String?) {
        self.access = access
        self.reason = reason
        self.rule = rule
        self.path = path
    }

    public var hint: String {
        let list = "files.\(access.rawValue).allow"
        if reason == .noPolicy { return Refusal(reason: reason).hint }
        guard let path else { return "it has no path in the sandbox, and \(list) does not cover what has none" }
        if isAbove {
            return
                "\(rule?.description ?? "a rule of files") is about \(path) or what is below it; renaming or linking it would "
                + "take that out of the rule"
        }
        guard reason == .deniedByRule, let rule else {
            return "no rule of \(list) covers \(path); to permit it add it, or a directory above it, to \(list)"
        }
        return "\(rule) covers \(path); remove or narrow that rule to permit it"
    }
}
