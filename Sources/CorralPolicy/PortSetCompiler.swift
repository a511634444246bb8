/// Makes port sets, each once.
struct PortSetCompiler {
    private let policy: Policy
    private(set) var portSets: [[CompiledPolicy.PortEntry]] = []
    private var portEntries = 0
    /// Of ports, looked at so far.
    private var ranges = 0
    private var numbers: [[CompiledPolicy.PortEntry]: Int] = [:]
    /// Ports and protocols of each rule as a number, equal for equal ones.
    private let allowShapes: [Int]
    private let denyShapes: [Int]
    /// A set for each list of rules that was asked, the address entry's own given by its shape.
    private var known: [[Int]: Answer] = [:]
    /// The same for the address entry's own rule alone, by shape.
    private var knownAlone: [Answer?]
    /// The set of a domain's rule, by shape.
    private var knownOfName: [Int: Int] = [:]

    /// As `CompiledPolicy.AddressAnswer`, before it is known which rule the address entry has.
    private enum Answer {
        case final(Outcome)
        case ports(set: Int)
    }

    /// An answer to some ports.
    private struct Outcome: Hashable {
        var verdict: Verdict
        var reason: Reason
        var rule: CompiledPolicy.CitedRule
    }

    private struct Shape: Hashable {
        var ports: [ClosedRange<UInt16>]?
        var protocols: Set<IPProtocol>
    }

    init(policy: Policy) {
        self.policy = policy
        var shapes: [Shape: Int] = [:]
        var last: (shape: Shape, number: Int)?
        func number(_ rule: EgressRule) -> Int {
            let shape = Shape(ports: rule.ports, protocols: rule.protocols)
            // Long lists mostly repeat themselves.
            if let last, last.shape == shape { return last.number }
            let number = shapes[shape] ?? shapes.count
            shapes[shape] = number
            last = (shape, number)
            return number
        }
        allowShapes = policy.allow.map(number)
        denyShapes = policy.deny.map(number)
        knownAlone = Array(repeating: nil, count: shapes.count)
    }

    /// Throws when port entries and `others` together are more than a policy may have.
    func bound(_ others: Int) throws(PolicyCompiler.Limit) {
        guard portEntries + others <= Policy.maximumEntries else {
            throw PolicyCompiler.Limit(
                message: "makes more than \(Policy.maximumEntries) entries in the kernel",
                expected: "fewer blocks, or fewer different lists of ports")
        }
    }

    /// - Parameters:
    ///   - allow: rules that cover the address, ascending; not empty, or `deny` is not.
    ///   - own: the rule that the address entry carries; need not be among them.
    mutating func answer(allow: [Int], deny: [Int], own: RuleReference?) throws(PolicyCompiler.Limit)
        -> CompiledPolicy.AddressAnswer
    {
        var ownAllow: Int?
        var ownDeny: Int?
        switch own {
        case .allow(let index)?: ownAllow = index
        case .deny(let index)?: ownDeny = index
        case .path?, nil: break
        }
        let made: Answer
        if deny.isEmpty, allow.count == 1, allow[0] == ownAllow {
            let shape = allowShapes[allow[0]]
            if let known = knownAlone[shape] {
                made = known
            } else {
                made = try make(allow, deny, own)
                knownAlone[shape] = made
            }
        } else {
            // Own rules become negative, so that the same list around another own rule is the same question.
            var question = allow.map { $0 == ownAllow ? -1 - allowShapes[$0] : $0 }
            question.append(.min)
            question += deny.map { $0 == ownDeny ? -1 - denyShapes[$0] : $0 }
            if let found = known[question] {
                made = found
            } else {
                made = try make(allow, deny, own)
                known[question] = made
            }
        }
        switch made {
        case .ports(let set):
            // Without a rule of its own an entry still needs one; its set then cites none.
            let first = own ?? deny.first.map(RuleReference.deny) ?? .allow(allow[0])
            return .ports(set: set, rule: first)
        case .final(let outcome):
            switch outcome.rule {
            case .none: return .final(Decision(outcome.verdict, outcome.reason))
            case .ofAddress: return .final(Decision(outcome.verdict, outcome.reason, rule: own))
            case .rule(let rule): return .final(Decision(outcome.verdict, outcome.reason, rule: rule))
            }
        }
    }

    /// For what a domain resolves to: the set of the ports of an allow rule alone, which its answers cite as `ofAddress`.
    mutating func set(ofRule index: Int) throws(PolicyCompiler.Limit) -> Int {
        if let known = knownOfName[allowShapes[index]] { return known }
        guard case .ports(let set) = try make([index], [], .allow(index), mayBeFinal: false) else {
            throw PolicyCompiler.Limit(
                message: "has a rule without an answer", expected: "a rule that allows something")
        }
        knownOfName[allowShapes[index]] = set
        return set
    }

    private mutating func make(
        _ allow: [Int], _ deny: [Int], _ own: RuleReference?, mayBeFinal: Bool = true
    ) throws(PolicyCompiler.Limit) -> Answer {
        let rules = deny.map(RuleReference.deny) + allow.map(RuleReference.allow)
        ranges += rules.reduce(0) { $0 + (rule($1).ports?.count ?? 1) }
        guard ranges <= Policy.maximumCoverings else {
            throw PolicyCompiler.Limit(
                message: "rules with many ports lie inside each other too often",
                expected: "at most \(Policy.maximumCoverings) ranges of ports over all such blocks")
        }
        var intervals: [(proto: IPProtocol, ports: Range<Int>, outcome: Outcome)] = []
        for proto in IPProtocol.allCases {
            for interval in self.intervals(rules, proto, own) {
                intervals.append((proto, interval.ports, interval.outcome))
            }
        }
        if mayBeFinal, let first = intervals.first, intervals.allSatisfy({ $0.outcome == first.outcome }) {
            return .final(first.outcome)
        }
        var entries: [CompiledPolicy.PortEntry] = []
        for proto in IPProtocol.allCases {
            let ofProto = intervals.filter { $0.proto == proto }
            // The answer of most ports is the one that the others are exceptions from.
            var counts: [Outcome: Int] = [:]
            for interval in ofProto { counts[interval.outcome, default: 0] += interval.ports.count }
            let most = counts.values.max() ?? 0
            guard let base = ofProto.first(where: { counts[$0.outcome] == most })?.outcome else { continue }
            entries.append(entry(proto, 0, 0, base))
            for interval in ofProto where interval.outcome != base {
                var start = interval.ports.lowerBound
                while start < interval.ports.upperBound {
                    // The largest aligned block that begins here and fits.
                    var size = start == 0 ? 65_536 : start & -start
                    while start + size > interval.ports.upperBound { size /= 2 }
                    entries.append(entry(proto, start, 16 - size.trailingZeroBitCount, interval.outcome))
                    start += size
                }
            }
        }
        if let number = numbers[entries] { return .ports(set: number) }
        portEntries += entries.count
        try bound(0)
        portSets.append(entries)
        numbers[entries] = portSets.count - 1
        return .ports(set: portSets.count - 1)
    }

    private func entry(_ proto: IPProtocol, _ port: Int, _ length: Int, _ outcome: Outcome) -> CompiledPolicy.PortEntry
    {
        CompiledPolicy.PortEntry(
            proto: proto, port: UInt16(truncatingIfNeeded: port), length: length, verdict: outcome.verdict,
            reason: outcome.reason, rule: outcome.rule)
    }

    private func rule(_ reference: RuleReference) -> EgressRule {
        switch reference {
        case .allow(let index): policy.allow[index]
        case .deny(let index): policy.deny[index]
        // About no address.
        case .path: EgressRule(target: .internet, protocols: [])
        }
    }

    /// All ports in order, in ranges of one answer each.
    /// - Parameter rules: those that cover the address; the first that matches decides.
    private func intervals(_ rules: [RuleReference], _ proto: IPProtocol, _ own: RuleReference?) -> [(
        ports: Range<Int>, outcome: Outcome
    )] {
        func outcome(_ verdict: Verdict, _ reason: Reason, _ rule: RuleReference?) -> Outcome {
            Outcome(
                verdict: verdict, reason: reason, rule: rule.map { $0 == own ? .ofAddress : .rule($0) } ?? .none)
        }
        let firstAllow = rules.first { if case .allow = $0 { true } else { false } }
        let speaking = rules.filter { rule($0).protocols.contains(proto) }
        let otherwise: Outcome
        if let first = speaking.first(where: { if case .allow = $0 { true } else { false } }) {
            otherwise = outcome(.deny, .portNotAllowed, first)
        } else if let firstAllow {
            otherwise = outcome(.deny, .protocolNotAllowed, firstAllow)
        } else {
            otherwise = outcome(.deny, .noMatchingRule, nil)
        }

        func portRanges(_ reference: RuleReference) -> [Range<Int>] {
            guard proto != .icmp, let ports = rule(reference).ports else { return [0..<65_536] }
            return ports.map { Int($0.lowerBound)..<Int($0.upperBound) + 1 }
        }
        let claims = speaking.map { (reference: $0, ranges: portRanges($0)) }
        var starts = [0, 65_536]
        for claim in claims { starts += claim.ranges.flatMap { [$0.lowerBound, $0.upperBound] } }
        starts.sort()
        var count = 0
        for start in starts where count == 0 || starts[count - 1] != start {
            starts[count] = start
            count += 1
        }
        starts.removeLast(starts.count - count)

        func index(of start: Int) -> Int {
            var range = 0..<starts.count
            while range.count > 1 {
                let middle = range.lowerBound + range.count / 2
                range = starts[middle] <= start ? middle..<range.upperBound : range.lowerBound..<middle
            }
            return range.lowerBound
        }
        // Each piece goes to the first rule that claims it; `next` leads past the pieces that are taken.
        var outcomes: [Outcome?] = Array(repeating: nil, count: starts.count - 1)
        var next = Array(0..<starts.count)
        func free(_ index: Int) -> Int {
            var index = index
            while next[index] != index {
                next[index] = next[next[index]]
                index = next[index]
            }
            return index
        }
        for claim in claims {
            let claimed: Outcome =
                switch claim.reference {
                case .deny: outcome(.deny, .deniedByRule, claim.reference)
                case .allow, .path: outcome(.allow, .allowedByRule, claim.reference)
                }
            for range in claim.ranges {
                let end = index(of: range.upperBound)
                var piece = free(index(of: range.lowerBound))
                while piece < end {
                    outcomes[piece] = claimed
                    next[piece] = piece + 1
                    piece = free(piece + 1)
                }
            }
        }
        var intervals: [(ports: Range<Int>, outcome: Outcome)] = []
        for (piece, found) in outcomes.enumerated() {
            let found = found ?? otherwise
            if let last = intervals.last, last.outcome == found {
                intervals[intervals.count - 1].ports = last.ports.lowerBound..<starts[piece + 1]
            } else {
                intervals.append((starts[piece]..<starts[piece + 1], found))
            }
        }
        return intervals
    }
}
