/// The rules on paths as the kernel's longest-prefix-match trie holds them (layout: bpf/abi/corral_abi.h).
public struct CompiledPaths: Sendable, Equatable {
    /// What a lookup asks about.
    public enum Space: Hashable, Sendable {
        case access(FileAccess)
        /// Directories that a rule names or that lie above one: to move one of them would move what the rule speaks of.
        case above
    }

    /// The answer for the paths that begin with `key`.
    public struct Entry: Hashable, Sendable {
        public var space: Space
        /// What a judged path begins with: files end in a zero byte there, directories in `/`. Empty: whatever no other covers.
        public var key: [UInt8]
        public var verdict: Verdict
        /// Of `above`: one that the directory holds.
        public var rule: PathRuleReference?
    }

    /// For what there are rules; the rest is not asked about.
    public var judged: Set<FileAccess>
    /// One a space and key; for each of `judged` there is the empty key.
    public var entries: [Entry]

    public static let none = CompiledPaths(judged: [], entries: [])

    private init(judged: Set<FileAccess>, entries: [Entry]) {
        self.judged = judged
        self.entries = entries
    }

    public init(_ files: Policy.FileRules) {
        var entries: [Entry] = []
        var above: [[UInt8]: PathRuleReference] = [:]
        var judged: Set<FileAccess> = []
        for access in FileAccess.allCases {
            guard let rules = files[access], !rules.isEmpty else { continue }
            judged.insert(access)
            entries.append(
                Entry(space: .access(access), key: [], verdict: rules.allow == nil ? .allow : .deny, rule: nil))
            var known: Set<[UInt8]> = []
            // What comes first stays: deny, and of equal ones the first.
            for (list, isDeny) in [(rules.deny, true), (rules.allow ?? [], false)] {
                for (index, rule) in list.enumerated() {
                    let reference = PathRuleReference(access, isDeny: isDeny, index: index)
                    for key in rule.keys where known.insert(key).inserted {
                        entries.append(
                            Entry(
                                space: .access(access), key: key, verdict: isDeny ? .deny : .allow, rule: reference))
                    }
                    for directory in Self.directories(of: rule.path) where above[directory] == nil {
                        above[directory] = reference
                    }
                }
            }
        }
        for (directory, rule) in above {
            entries.append(Entry(space: .above, key: directory, verdict: .deny, rule: rule))
        }
        self.init(judged: judged, entries: entries)
    }

    /// `/a/b/c` and `/a/b/c/`: /a, /a/b and /a/b/c, each with a zero byte.
    private static func directories(of path: String) -> [[UInt8]] {
        let bytes = Array(path.utf8)
        var found: [[UInt8]] = []
        for index in bytes.indices.dropFirst() where bytes[index] == UInt8(ascii: "/") {
            found.append(bytes[..<index] + [0])
        }
        if bytes.last != UInt8(ascii: "/") { found.append(bytes + [0]) }
        return found
    }

    /// Answers as the kernel's programs do: by the longest match alone.
    public func decide(_ access: FileAccess, _ path: String?) -> Decision {
        guard judged.contains(access) else { return Decision(.allow, .allowedByRule) }
        let asked = path.map(PathRule.judged) ?? []
        let matches = entries.filter { $0.space == .access(access) && asked.starts(with: $0.key) }
        guard let entry = matches.max(by: { $0.key.count < $1.key.count }) else { return Decision(.deny, .noPolicy) }
        let rule = entry.rule.map { RuleReference.path($0) }
        guard entry.verdict == .deny else { return Decision(.allow, .allowedByRule, rule: rule) }
        return Decision(.deny, rule == nil ? .pathNotAllowed : .deniedByRule, rule: rule)
    }
}
