/// What a policy says to a name.
enum NameDecision: Sendable, Equatable {
    /// By the rules of these numbers in `egress.allow`. `anywhere`: some rule covers every global unicast address, so that the
    /// name's addresses need not be opened one by one.
    case allowed(rules: [Int], anywhere: Bool)
    /// By the rule of this number in `egress.deny`.
    case denied(rule: Int)
    case notAllowed
}
