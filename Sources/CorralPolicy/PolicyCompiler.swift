extension Policy {
    /// Entries a compiled policy may have (CORRAL_MAX_POLICY_ENTRIES).
    public static let maximumEntries = 1_048_576
    /// Rules that may cover one address.
    public static let maximumOverlap = 1024
    /// Rules that cover a block, added up over all blocks at which the answer may change. Bounds the compiler's work, as
    /// does the same for ranges of ports over all different lists of rules.
    public static let maximumCoverings = 1 << 22

    /// For the kernel: shorter prefixes are merged into longer ones, so that the longest match is the whole answer.
    /// Throws when it would pass one of the limits above.
    public func compile(host: HostContext) throws(PolicyError) -> CompiledPolicy {
        var compiler = PolicyCompiler(policy: self)
        do throws(PolicyCompiler.Limit) {
            return try compiler.compile(host: host)
        } catch {
            throw PolicyError(problems: [
                PolicyError.Problem(
                    file: file, line: 0, column: 0, field: "egress", message: error.message, expected: error.expected)
            ])
        }
    }
}

/// One walk over all prefixes that mean something, from the shortest down, with what covers the present one on a stack.
struct PolicyCompiler {
    /// A bound that the policy passes.
    struct Limit: Error {
        var message: String
        var expected: String
    }

    /// Something that begins at a prefix.
    private struct Boundary {
        enum Change {
            case allow(Int)
            case deny(Int)
            case reserved
            /// The preset's rules begin (true) or end (false) to cover here.
            case internet(Bool)
        }

        var prefix: IPPrefix
        var change: Change
    }

    /// What holds below a prefix.
    private struct Coverage {
        var prefix: IPPrefix
        /// Ascending, as in `deny`.
        var allow: [Int] = []
        var deny: [Int] = []
        /// Of the innermost block that rules name; port sets leave it to the address entry.
        var own: RuleReference?
        /// Prefix length of the narrowest reserved range; nil outside all of them.
        var reserved: Int?
        var internet = false
        var answer: CompiledPolicy.AddressAnswer
    }

    private let policy: Policy
    private var sets: PortSetCompiler
    private let internetAllow: [Int]
    private let internetDeny: [Int]
    private let lengths: [Int]

    init(policy: Policy) {
        self.policy = policy
        sets = PortSetCompiler(policy: policy)
        internetAllow = policy.allow.indices.filter { policy.allow[$0].target == .internet }
        internetDeny = policy.deny.indices.filter { policy.deny[$0].target == .internet }
        lengths = policy.allow.map { if case .prefix(let prefix) = $0.target { prefix.length } else { -1 } }
    }

    private func boundaries(_ host: HostContext) -> [Boundary] {
        var boundaries: [Boundary] = []
        boundaries.reserveCapacity(policy.allow.count + policy.deny.count + 64)
        for (index, rule) in policy.allow.enumerated() {
            if case .prefix(let prefix) = rule.target {
                boundaries.append(Boundary(prefix: prefix, change: .allow(index)))
            }
        }
        for (index, rule) in policy.deny.enumerated() {
            if case .prefix(let prefix) = rule.target {
                boundaries.append(Boundary(prefix: prefix, change: .deny(index)))
            }
        }
        for range in SpecialRanges.reserved(for: host) {
            boundaries.append(Boundary(prefix: range.prefix, change: .reserved))
        }
        if !internetAllow.isEmpty || !internetDeny.isEmpty {
            for prefix in SpecialRanges.internet.inside {
                boundaries.append(Boundary(prefix: prefix, change: .internet(true)))
            }
            for prefix in SpecialRanges.internet.outside {
                boundaries.append(Boundary(prefix: prefix, change: .internet(false)))
            }
        }
        boundaries.sort { $0.prefix < $1.prefix }
        return boundaries
    }

    mutating func compile(host: HostContext) throws(Limit) -> CompiledPolicy {
        let boundaries = boundaries(host)
        let nothing = CompiledPolicy.AddressAnswer.final(Decision(.deny, .noMatchingRule))
        var addresses = [CompiledPolicy.AddressEntry(.everything, nothing)]
        addresses.reserveCapacity(boundaries.count + 1)
        var stack = [Coverage(prefix: .everything, answer: nothing)]
        var coverings = 0
        var next = 0
        while next < boundaries.count {
            let prefix = boundaries[next].prefix
            while stack.count > 1, !stack[stack.count - 1].prefix.contains(prefix) { stack.removeLast() }
            var here = stack[stack.count - 1]
            let parent = here.answer
            here.prefix = prefix
            var ownAllow: Int?
            var ownDeny: Int?
            while next < boundaries.count, boundaries[next].prefix == prefix {
                switch boundaries[next].change {
                case .allow(let index):
                    insert(index, into: &here.allow)
                    ownAllow = min(index, ownAllow ?? index)
                case .deny(let index):
                    insert(index, into: &here.deny)
                    ownDeny = min(index, ownDeny ?? index)
                case .reserved: here.reserved = prefix.length
                case .internet(let isInside):
                    guard isInside != here.internet else { break }
                    here.internet = isInside
                    change(&here.allow, by: internetAllow, adding: isInside)
                    change(&here.deny, by: internetDeny, adding: isInside)
                }
                next += 1
                guard here.allow.count + here.deny.count <= Policy.maximumOverlap else {
                    throw Limit(
                        message: "more than \(Policy.maximumOverlap) rules cover \(prefix)",
                        expected: "fewer rules with more ports each")
                }
            }
            if let ownDeny { here.own = .deny(ownDeny) } else if let ownAllow { here.own = .allow(ownAllow) }
            coverings += here.allow.count + here.deny.count
            guard coverings <= Policy.maximumCoverings else {
                throw Limit(
                    message: "rules lie inside each other too often",
                    expected: "at most \(Policy.maximumCoverings) times that a rule covers a block of another")
            }
            here.answer = try answer(here)
            stack.append(here)
            if prefix == .everything {
                addresses[0].answer = here.answer
            } else if here.answer != parent {
                addresses.append(CompiledPolicy.AddressEntry(prefix, here.answer))
            }
            // Of META too.
            try sets.bound(addresses.count + 1)
        }
        var namePorts: [Int: Int] = [:]
        for (index, rule) in policy.allow.enumerated() {
            if case .domain = rule.target { namePorts[index] = try sets.set(ofRule: index) }
        }
        try sets.bound(addresses.count + 1)
        return CompiledPolicy(
            audit: policy.mode == .audit, allowsICMP: policy.allow.contains { $0.protocols.contains(.icmp) },
            resolvesNames: policy.resolvesNames, operations: policy.syscalls.resolved.permittedOperations,
            addresses: addresses, portSets: sets.portSets, namePorts: namePorts,
            paths: CompiledPaths(policy.files.rules)
        )
    }

    /// `list` stays ascending.
    private func insert(_ index: Int, into list: inout [Int]) {
        list.insert(index, at: list.lastIndex { $0 < index }.map { $0 + 1 } ?? 0)
    }

    private func change(_ list: inout [Int], by rules: [Int], adding: Bool) {
        guard !rules.isEmpty else { return }
        if adding {
            list = (list + rules).sorted()
        } else {
            let gone = Set(rules)
            list.removeAll { gone.contains($0) }
        }
    }

    private mutating func answer(_ coverage: Coverage) throws(Limit) -> CompiledPolicy.AddressAnswer {
        var allow = coverage.allow
        if let length = coverage.reserved {
            // What covers a reserved address and is at least as long as the range lies inside it.
            allow.removeAll { lengths[$0] < length }
            if allow.isEmpty { return .final(Decision(.deny, .reservedAddress)) }
        }
        if allow.isEmpty && coverage.deny.isEmpty { return .final(Decision(.deny, .noMatchingRule)) }
        return try sets.answer(allow: allow, deny: coverage.deny, own: coverage.own)
    }
}
