/// What a policy says to a name.
public enum NameDecision: Sendable, Equatable {
    /// Resolved. `rules`: indices of `egress.allow` whose domain matches, ascending; its addresses are opened by these.
    /// `anywhere`: a `preset: internet` rule permits every name, and its addresses need no opening; `rules` may be empty then.
    case allowed(rules: [Int], anywhere: Bool)
    /// By the rule of this index in `egress.deny`, whatever allows it.
    case denied(rule: Int)
    case notAllowed
}

/// The rules of a policy that speak of names, made for asking often.
public struct NameRules: Sendable, Equatable {
    private struct Table: Sendable, Equatable {
        /// By the pattern's name; indices ascending.
        var exact: [Substring: [Int]] = [:]
        var below: [Substring: [Int]] = [:]

        mutating func add(_ pattern: DomainPattern, _ index: Int) {
            if pattern.isWildcard {
                below[pattern.name[...], default: []].append(index)
            } else {
                exact[pattern.name[...], default: []].append(index)
            }
        }

        /// Indices of all patterns that match, ascending.
        func matches(_ name: String) -> [Int] {
            if exact.isEmpty && below.isEmpty { return [] }
            var found = exact[name[...]] ?? []
            if !below.isEmpty {
                var rest = name[...]
                while let dot = rest.utf8.firstIndex(of: UInt8(ascii: ".")) {
                    rest = rest[rest.utf8.index(after: dot)...]
                    if let more = below[rest] { found += more }
                }
            }
            return found.count > 1 ? found.sorted() : found
        }
    }

    private var allow = Table()
    private var deny = Table()
    private var anywhere = false

    init(_ policy: Policy) {
        for (index, rule) in policy.allow.enumerated() {
            switch rule.target {
            case .domain(let pattern): allow.add(pattern, index)
            case .internet: anywhere = true
            case .prefix: break
            }
        }
        for (index, rule) in policy.deny.enumerated() {
            if case .domain(let pattern) = rule.target { deny.add(pattern, index) }
        }
    }

    /// - Parameter name: lower case, A-labels, no dot at the end.
    public func decide(_ name: String) -> NameDecision {
        if let rule = deny.matches(name).first { return .denied(rule: rule) }
        let rules = allow.matches(name)
        return rules.isEmpty && !anywhere ? .notAllowed : .allowed(rules: rules, anywhere: anywhere)
    }
}

extension Policy {
    /// Built anew at each call: keep it where many names are asked.
    public var names: NameRules { NameRules(self) }

    /// Some name may be resolved.
    public var resolvesNames: Bool {
        allow.contains {
            switch $0.target {
            case .domain, .internet: true
            case .prefix: false
            }
        }
    }
}
