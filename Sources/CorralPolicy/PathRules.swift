/// What a process does with a file, as `files.exec`, `files.read` and `files.write` speak of it.
public enum FileAccess: String, Sendable, CaseIterable, Codable, Comparable {
    case exec
    case read
    /// Also: making, removing, renaming and linking it, changing its length, mode and owner.
    case write

    public static func < (a: FileAccess, b: FileAccess) -> Bool { a.rank < b.rank }

    private var rank: Int {
        switch self {
        case .exec: 0
        case .read: 1
        case .write: 2
        }
    }
}

/// One entry of `files.ACCESS.allow` or `files.ACCESS.deny`.
public struct PathRule: Sendable, Hashable {
    /// Absolute, as `isPath` wants it. It covers that file and, where it is a directory, everything below; one that ends in `/` is
    /// about a directory only.
    public var path: String
    /// Where it stands in its file, from 1; 0 when it comes from no file.
    public var line: Int

    public init(_ path: String, line: Int = 0) {
        self.path = path
        self.line = line
    }

    /// Most bytes of a path (CORRAL_RULE_PATH_BYTES).
    public static let maximumBytes = 240
    /// Most of one policy, all its lists together.
    public static let maximum = 1024

    /// What `whatIsWrong` wants.
    static let expected = "an absolute path without ., .. and //, such as /usr/bin/ or /etc/shadow"

    /// Nil for a path that a rule can have.
    static func whatIsWrong(with path: String) -> String? {
        guard path.hasPrefix("/") else { return "does not begin with /" }
        guard path.utf8.count <= maximumBytes else { return "has more than \(maximumBytes) bytes" }
        guard !path.utf8.contains(where: { $0 < 0x20 || $0 == 0x7f }) else { return "holds a control character" }
        guard !path.utf8.contains(UInt8(ascii: "*")) else {
            return "holds a wildcard; a directory covers everything below it"
        }
        guard path != "/" else { return nil }
        let names = path.dropFirst().split(separator: "/", omittingEmptySubsequences: false)
        let last = names.last.map { $0.isEmpty } ?? false
        guard (last ? names.dropLast() : names).allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }) else {
            return "is not normalised"
        }
        return nil
    }

    /// Of a path as `judged` writes it.
    func covers(_ judged: [UInt8]) -> Bool { keys.contains { judged.starts(with: $0) } }

    /// A path as it is judged: a file's with a zero byte at its end, a directory's with its slash.
    static func judged(_ path: String) -> [UInt8] {
        let bytes = Array(path.utf8)
        return bytes.last == UInt8(ascii: "/") ? bytes : bytes + [0]
    }

    /// What a judged path that it covers begins with.
    var keys: [[UInt8]] {
        let bytes = Array(path.utf8)
        return bytes.last == UInt8(ascii: "/") ? [bytes] : [bytes + [0], bytes + [UInt8(ascii: "/")]]
    }
}

/// `files.exec`, `files.read` or `files.write`.
public struct PathRules: Sendable, Hashable {
    /// Nil: everything that `deny` does not cover. Otherwise nothing else.
    public var allow: [PathRule]?
    public var deny: [PathRule]

    public init(allow: [PathRule]? = nil, deny: [PathRule] = []) {
        self.allow = allow
        self.deny = deny
    }

    public var isEmpty: Bool { allow == nil && deny.isEmpty }
}

/// A path rule by its place in the policy file, counted from 0: `files.read.deny[0]`.
public struct PathRuleReference: Hashable, Sendable {
    public var access: FileAccess
    public var isDeny: Bool
    public var index: Int

    public init(_ access: FileAccess, isDeny: Bool, index: Int) {
        self.access = access
        self.isDeny = isDeny
        self.index = index
    }
}

extension PathRuleReference: CustomStringConvertible {
    public var description: String { "files.\(access.rawValue).\(isDeny ? "deny" : "allow")[\(index)]" }
}

extension Policy.FileRules {
    /// Nil where there is no such rule.
    public subscript(rule: PathRuleReference) -> PathRule? {
        let list = rule.isDeny ? self[rule.access]?.deny : self[rule.access]?.allow
        guard let list, list.indices.contains(rule.index) else { return nil }
        return list[rule.index]
    }
}

extension Policy {
    /// The plain reading of the rules on paths: the longest that covers it decides, of equal ones deny. What the compiler makes must
    /// answer the same.
    /// - Parameter path: of a file; of a directory, with `/` at its end. Nil: it has none, like a program in memory.
    public func decide(_ access: FileAccess, _ path: String?) -> Decision {
        guard let rules = files.rules[access], !rules.isEmpty else { return Decision(.allow, .allowedByRule) }
        let judged = path.map(PathRule.judged) ?? []
        var best: (length: Int, decision: Decision)?
        func look(_ list: [PathRule], isDeny: Bool) {
            for (index, rule) in list.enumerated() where rule.covers(judged) {
                // Without the slash that says no more than the path itself.
                let length = rule.path.utf8.count + (rule.path.hasSuffix("/") ? 0 : 1)
                if let best, best.length >= length { continue }
                best = (
                    length,
                    Decision(
                        isDeny ? .deny : .allow, isDeny ? .deniedByRule : .allowedByRule,
                        rule: .path(PathRuleReference(access, isDeny: isDeny, index: index)))
                )
            }
        }
        look(rules.deny, isDeny: true)
        look(rules.allow ?? [], isDeny: false)
        return best?.decision
            ?? (rules.allow == nil ? Decision(.allow, .allowedByRule) : Decision(.deny, .pathNotAllowed))
    }
}
