extension Policy {
    /// Entries a compiled policy may have (CORRAL_MAX_POLICY_ENTRIES).
    public static let maximumEntries = 1_048_576

    /// For the kernel: shorter prefixes are merged into longer ones, so that the longest match is the whole answer.
    /// Throws when it would have more than `maximumEntries` entries.
    public func compile(host: HostContext) throws(PolicyError) -> CompiledPolicy {
        var compiler = PolicyCompiler(policy: self)
        let compiled = compiler.compile(host: host)
        let count = compiled.addresses.count + compiled.portSets.reduce(0) { $0 + $1.count } + 1
        guard count <= Self.maximumEntries else {
            throw PolicyError(problems: [
                PolicyError.Problem(
                    file: file, line: 0, column: 0, field: "egress",
                    message: "makes \(count) entries in the kernel", expected: "at most \(Self.maximumEntries)"
                )
            ])
        }
        return compiled
    }
}

/// One walk over all prefixes that mean something, from the shortest down, with what covers the present one on a stack.
private struct PolicyCompiler {
    /// What begins at a prefix.
    private struct Boundary {
        var allow: [Int] = []
        var deny: [Int] = []
        var isReserved = false
        /// The preset's rules begin (true) or end (false) to cover here.
        var internet: Bool?
    }

    /// What holds below a prefix.
    private struct Coverage {
        var prefix: IPPrefix
        var allow: [Int] = []
        var deny: [Int] = []
        /// Prefix length of the narrowest reserved range; nil outside all of them.
        var reserved: Int?
        var internet = false
        var answer: CompiledPolicy.AddressAnswer
    }

    /// Rules that decide, which is all an answer depends on.
    private struct Question: Hashable {
        var allow: [Int]
        var deny: [Int]
        var isReserved: Bool
    }

    let policy: Policy
    private var portSets: [[CompiledPolicy.PortEntry]] = []
    private var setNumbers: [[CompiledPolicy.PortEntry]: Int] = [:]
    private var answers: [Question: CompiledPolicy.AddressAnswer] = [:]
    private let internetAllow: [Int]
    private let internetDeny: [Int]
    private let lengths: [Int]

    init(policy: Policy) {
        self.policy = policy
        internetAllow = policy.allow.indices.filter { policy.allow[$0].target == .internet }
        internetDeny = policy.deny.indices.filter { policy.deny[$0].target == .internet }
        lengths = policy.allow.map { if case .prefix(let prefix) = $0.target { prefix.length } else { -1 } }
    }

    mutating func compile(host: HostContext) -> CompiledPolicy {
        let root = IPPrefix(IPAddress(high: 0, low: 0), length: 0)
        var boundaries: [IPPrefix: Boundary] = [root: Boundary()]
        for (index, rule) in policy.allow.enumerated() {
            if case .prefix(let prefix) = rule.target { boundaries[prefix, default: Boundary()].allow.append(index) }
        }
        for (index, rule) in policy.deny.enumerated() {
            if case .prefix(let prefix) = rule.target { boundaries[prefix, default: Boundary()].deny.append(index) }
        }
        for range in SpecialRanges.reserved(for: host) {
            boundaries[range.prefix, default: Boundary()].isReserved = true
        }
        if !internetAllow.isEmpty || !internetDeny.isEmpty {
            for prefix in SpecialRanges.internet.inside { boundaries[prefix, default: Boundary()].internet = true }
            for prefix in SpecialRanges.internet.outside { boundaries[prefix, default: Boundary()].internet = false }
        }

        var addresses: [IPPrefix: CompiledPolicy.AddressAnswer] = [:]
        addresses.reserveCapacity(boundaries.count)
        var stack: [Coverage] = []
        let order = boundaries.keys.sorted { ($0.address, $0.length) < ($1.address, $1.length) }
        for prefix in order {
            while let last = stack.last, !last.prefix.contains(prefix) { stack.removeLast() }
            guard let boundary = boundaries[prefix] else { continue }
            var here = stack.last ?? Coverage(prefix: prefix, answer: .final(Decision(.deny, .noPolicy)))
            let parent = stack.last?.answer
            here.prefix = prefix
            if !boundary.allow.isEmpty { here.allow = merge(here.allow, boundary.allow) }
            if !boundary.deny.isEmpty { here.deny = merge(here.deny, boundary.deny) }
            if boundary.isReserved { here.reserved = prefix.length }
            if let internet = boundary.internet, internet != here.internet {
                here.internet = internet
                here.allow = internet ? merge(here.allow, internetAllow) : here.allow.filter { lengths[$0] >= 0 }
                here.deny = internet ? merge(here.deny, internetDeny) : here.deny.filter { !internetDeny.contains($0) }
            }
            here.answer = answer(here)
            stack.append(here)
            if here.answer != parent { addresses[prefix] = here.answer }
        }
        return CompiledPolicy(
            audit: policy.mode == .audit, allowsICMP: policy.allow.contains { $0.protocols.contains(.icmp) },
            addresses: addresses, portSets: portSets
        )
    }

    /// Both ascending.
    private func merge(_ a: [Int], _ b: [Int]) -> [Int] {
        a.isEmpty ? b : (a + b).sorted()
    }

    private mutating func answer(_ coverage: Coverage) -> CompiledPolicy.AddressAnswer {
        // What covers a reserved address and is at least as long as the range lies inside it.
        let allow =
            coverage.reserved.map { length in coverage.allow.filter { lengths[$0] >= length } } ?? coverage.allow
        let question = Question(allow: allow, deny: coverage.deny, isReserved: coverage.reserved != nil)
        if let known = answers[question] { return known }
        let answer = makeAnswer(question)
        answers[question] = answer
        return answer
    }

    private mutating func makeAnswer(_ question: Question) -> CompiledPolicy.AddressAnswer {
        if question.isReserved && question.allow.isEmpty { return .final(Decision(.deny, .reservedAddress)) }
        if question.allow.isEmpty && question.deny.isEmpty { return .final(Decision(.deny, .noMatchingRule)) }
        var entries: [CompiledPolicy.PortEntry] = []
        for proto in IPProtocol.allCases { entries += portEntries(question, proto) }
        if let first = entries.first, entries.allSatisfy({ $0.decision == first.decision }) {
            return .final(first.decision)
        }
        if let number = setNumbers[entries] { return .ports(set: number) }
        portSets.append(entries)
        setNumbers[entries] = portSets.count - 1
        return .ports(set: portSets.count - 1)
    }

    private func decide(_ question: Question, _ proto: IPProtocol, _ port: UInt16) -> Decision {
        if let index = question.deny.first(where: { policy.deny[$0].matches(proto, port) }) {
            return Decision(.deny, .deniedByRule, rule: .deny(index))
        }
        if let index = question.allow.first(where: { policy.allow[$0].matches(proto, port) }) {
            return Decision(.allow, .allowedByRule, rule: .allow(index))
        }
        if let index = question.allow.first(where: { policy.allow[$0].protocols.contains(proto) }) {
            return Decision(.deny, .portNotAllowed, rule: .allow(index))
        }
        if let index = question.allow.first { return Decision(.deny, .protocolNotAllowed, rule: .allow(index)) }
        return Decision(.deny, .noMatchingRule)
    }

    private func portEntries(_ question: Question, _ proto: IPProtocol) -> [CompiledPolicy.PortEntry] {
        guard proto != .icmp else {
            return [CompiledPolicy.PortEntry(proto: proto, port: 0, length: 0, decision: decide(question, proto, 0))]
        }
        // Every port at which an answer can change; the answer between two of them is one.
        var starts: Set<Int> = [0]
        for rule in question.allow.map({ policy.allow[$0] }) + question.deny.map({ policy.deny[$0] })
        where rule.protocols.contains(proto) {
            for range in rule.ports ?? [] {
                starts.insert(Int(range.lowerBound))
                starts.insert(Int(range.upperBound) + 1)
            }
        }
        var intervals: [(range: Range<Int>, decision: Decision)] = []
        let ordered = starts.filter { $0 <= 65_535 }.sorted()
        for (index, start) in ordered.enumerated() {
            let end = index + 1 < ordered.count ? ordered[index + 1] : 65_536
            let decision = decide(question, proto, UInt16(start))
            if let last = intervals.last, last.decision == decision {
                intervals[intervals.count - 1].range = last.range.lowerBound..<end
            } else {
                intervals.append((start..<end, decision))
            }
        }
        let base = intervals.max { $0.range.count < $1.range.count }?.decision ?? Decision(.deny, .noPolicy)
        var entries = [CompiledPolicy.PortEntry(proto: proto, port: 0, length: 0, decision: base)]
        for interval in intervals where interval.decision != base {
            var start = interval.range.lowerBound
            while start < interval.range.upperBound {
                // The largest aligned block that begins here and fits.
                var size = start == 0 ? 65_536 : start & -start
                while start + size > interval.range.upperBound { size /= 2 }
                entries.append(
                    CompiledPolicy.PortEntry(
                        proto: proto, port: UInt16(start), length: 16 - size.trailingZeroBitCount,
                        decision: interval.decision
                    )
                )
                start += size
            }
        }
        return entries
    }
}
