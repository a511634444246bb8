/// What changes for destinations when one policy follows another. Which rules say so does not count.
public struct PolicyDiff: Sendable, Equatable, Encodable {
    public enum Kind: String, Sendable, Encodable {
        /// Nothing was permitted, and something is.
        case allowed
        /// Something was permitted, and nothing is.
        case refused
        /// More ports or protocols than before.
        case wider
        /// Fewer.
        case narrower
        /// Some came and some went.
        case changed
    }

    /// For blocks of addresses that were alike and are alike.
    public struct AddressChange: Sendable, Equatable, Encodable {
        public var kind: Kind
        /// CIDR blocks, in order.
        public var blocks: [String]
        /// As `AllowedPorts` writes it.
        public var before: String
        public var after: String
    }

    /// For the names that one pattern speaks of.
    public struct NameChange: Sendable, Equatable, Encodable {
        public var kind: Kind
        public var domain: String
        /// As `AllowedPorts` writes it; `refused` for a name in `egress.deny`.
        public var before: String
        public var after: String
    }

    public struct SettingChange: Sendable, Equatable, Encodable {
        /// `mode`, `egress.limits.bytes` ...
        public var field: String
        /// Nil where it is not set.
        public var before: String?
        public var after: String?
    }

    public var addresses: [AddressChange]
    public var names: [NameChange]
    public var syscalls: [SyscallChange]
    public var settings: [SettingChange]

    public var isEmpty: Bool { addresses.isEmpty && names.isEmpty && syscalls.isEmpty && settings.isEmpty }

    /// Throws when one of them does not compile.
    public init(from old: Policy, to new: Policy, host: HostContext) throws(PolicyError) {
        addresses = Self.addressChanges(try old.compile(host: host), try new.compile(host: host))
        names = Self.nameChanges(old, new)
        syscalls = SyscallChange.changes(from: old.syscalls, to: new.syscalls)
        settings = Self.settingChanges(old, new)
    }

    private static func kind(_ before: AllowedPorts, _ after: AllowedPorts) -> Kind {
        if before.isNothing { return .allowed }
        if after.isNothing { return .refused }
        if after.contains(before) { return .wider }
        return before.contains(after) ? .narrower : .changed
    }

    // MARK: addresses

    /// Ports by number, so that they are compared once.
    private struct Profiles {
        var all: [AllowedPorts] = []
        private var numbers: [AllowedPorts: Int] = [:]

        mutating func number(_ ports: AllowedPorts) -> Int {
            if let number = numbers[ports] { return number }
            numbers[ports] = all.count
            all.append(ports)
            return all.count - 1
        }

        /// The whole address space, in order.
        mutating func space(_ policy: CompiledPolicy) -> [NestedBlock<Int>] {
            let sets = policy.portSets.map { number(AllowedPorts($0)) }
            let nothing = number(AllowedPorts())
            let everything = number(.everything)
            return NestedBlock.flattened(
                policy.addresses.map { entry in
                    let first = UInt128(entry.prefix.address)
                    let last = first | (entry.prefix.length == 0 ? .max : (1 << UInt128(128 - entry.prefix.length)) - 1)
                    let ports =
                        switch entry.answer {
                        case .final(let decision): decision.verdict == .allow ? everything : nothing
                        case .ports(let set, _): sets[set]
                        }
                    return NestedBlock(first: first, last: last, value: ports)
                })
        }
    }

    private static func addressChanges(_ old: CompiledPolicy, _ new: CompiledPolicy) -> [AddressChange] {
        struct Pair: Hashable {
            var before: Int
            var after: Int
        }
        var profiles = Profiles()
        let (before, after) = (profiles.space(old), profiles.space(new))
        var ranges: [NestedBlock<Pair>] = []
        var (left, right) = (0, 0)
        while left < before.count, right < after.count {
            let (a, b) = (before[left], after[right])
            let (first, last) = (max(a.first, b.first), min(a.last, b.last))
            if a.value != b.value {
                let pair = Pair(before: a.value, after: b.value)
                if let previous = ranges.last, previous.value == pair, previous.last + 1 == first {
                    ranges[ranges.count - 1].last = last
                } else {
                    ranges.append(NestedBlock(first: first, last: last, value: pair))
                }
            }
            if a.last == last { left += 1 }
            if b.last == last { right += 1 }
        }
        var order: [Pair] = []
        var blocks: [Pair: [String]] = [:]
        for range in ranges {
            if blocks[range.value] == nil { order.append(range.value) }
            blocks[range.value, default: []] += IPPrefix.covering(range.first, range.last).map(\.description)
        }
        return order.map { pair in
            let (before, after) = (profiles.all[pair.before], profiles.all[pair.after])
            return AddressChange(
                kind: kind(before, after), blocks: blocks[pair] ?? [], before: "\(before)", after: "\(after)")
        }
    }

    // MARK: names and settings

    private enum NameStatus: Equatable, CustomStringConvertible {
        case open(AllowedPorts)
        case refused

        var description: String {
            switch self {
            case .open(let ports): "\(ports)"
            case .refused: "refused"
            }
        }
    }

    private static func patterns(_ policy: Policy) -> Set<DomainPattern> {
        Set((policy.allow + policy.deny).compactMap(\.names))
    }

    /// What becomes of the names of a pattern, by every rule that speaks of all of them.
    private static func status(_ pattern: DomainPattern, _ policy: Policy, _ names: NameRules) -> NameStatus {
        // A wildcard is matched by what matches some name below it that no rule names by itself, which "*" cannot be.
        switch names.decide(pattern.description) {
        case .denied: return .refused
        case .notAllowed: return .open(AllowedPorts())
        case .allowed(let rules, let anywhere):
            var ports = AllowedPorts()
            for rule in rules { ports.formUnion(AllowedPorts(policy.allow[rule])) }
            guard anywhere else { return .open(ports) }
            for rule in policy.allow where rule.target == .internet { ports.formUnion(AllowedPorts(rule)) }
            return .open(ports)
        }
    }

    private static func nameChanges(_ old: Policy, _ new: Policy) -> [NameChange] {
        let (oldNames, newNames) = (old.names, new.names)
        let patterns = patterns(old).union(patterns(new)).sorted { $0.description < $1.description }
        return patterns.compactMap { pattern in
            let (was, becomes) = (status(pattern, old, oldNames), status(pattern, new, newNames))
            guard was != becomes else { return nil }
            let kind: Kind =
                switch (was, becomes) {
                case (.open(let before), .open(let after)): kind(before, after)
                case (_, .refused): .refused
                case (.refused, .open(let after)): after.isNothing ? .changed : .allowed
                }
            return NameChange(kind: kind, domain: "\(pattern)", before: "\(was)", after: "\(becomes)")
        }
    }

    private static func settings(_ policy: Policy) -> [(field: String, value: String?)] {
        let (budgets, limits) = (policy.budgets, policy.limits)
        let anyName = policy.allow.contains { $0.target == .internet }
        let settings: [(field: String, value: String?)] = [
            ("name", policy.name), ("mode", policy.mode.rawValue),
            ("names resolved", anyName ? "all" : policy.resolvesNames ? "those of egress.allow" : "none"),
            ("egress.limits.bytes", budgets.bytes.map(ByteSize.text)),
            ("egress.limits.connections", budgets.connections.map(String.init)),
            ("egress.limits.rate", budgets.bitsPerSecond.map(BitRate.text)),
            ("egress.limits.dnsQueries", budgets.dnsQueries.map(String.init)),
            ("trace.syscalls", "\(policy.trace)"),
            ("limits.cpu", limits.cpu.map { "\($0)" }), ("limits.cpuWeight", limits.cpuWeight.map { "\($0)" }),
            ("limits.memory", limits.memory.map(ByteSize.text)),
            ("limits.pids", limits.pids.map { "\($0)" }), ("limits.disk", limits.disk.map(ByteSize.text)),
            ("limits.openFiles", limits.openFiles.map { "\($0)" }),
            ("limits.io.read", limits.ioRead.map(ByteSize.text)),
            ("limits.io.write", limits.ioWrite.map(ByteSize.text)),
            ("limits.timeout", limits.timeout.map(DurationText.text)), ("files.image", policy.files.image),
        ]
        return FileAccess.allCases.reduce(into: settings) { settings, access in
            let rules = policy.files.rules[access]
            settings.append(("files.\(access.rawValue).allow", list(rules?.allow)))
            settings.append(("files.\(access.rawValue).deny", rules?.deny.isEmpty == false ? list(rules?.deny) : nil))
        }
    }

    /// In any order the same.
    private static func list(_ rules: [PathRule]?) -> String? {
        rules.map { Set($0.map(\.path)).sorted().joined(separator: ", ") }.map { $0.isEmpty ? "nothing" : $0 }
    }

    private static func settingChanges(_ old: Policy, _ new: Policy) -> [SettingChange] {
        var changes: [SettingChange] = []
        for (before, after) in zip(settings(old), settings(new)) where before.value != after.value {
            changes.append(SettingChange(field: before.field, before: before.value, after: after.value))
        }
        // Values may be secret.
        for key in Set(old.env.keys).union(new.env.keys).sorted() where old.env[key] != new.env[key] {
            changes.append(
                SettingChange(
                    field: "env.\(key)", before: old.env[key].map { _ in "set" },
                    after: new.env[key].map { _ in old.env[key] == nil ? "set" : "set to another value" }))
        }
        return changes
    }
}

extension PolicyDiff: CustomStringConvertible {
    /// Blocks of one change that are written out.
    private static let shownBlocks = 8

    /// One line a block, name or setting; empty when nothing changes.
    public var description: String {
        var lines: [String] = []
        func line(_ kind: String, _ subject: String, _ before: String, _ after: String) {
            lines.append(
                "\(kind)\(String(repeating: " ", count: max(1, 10 - kind.count)))\(subject): \(before) -> \(after)")
        }
        for change in addresses {
            for block in change.blocks.prefix(Self.shownBlocks) {
                line(change.kind.rawValue, block, change.before, change.after)
            }
            let rest = change.blocks.count - Self.shownBlocks
            if rest > 0 { line(change.kind.rawValue, "\(rest) more blocks", change.before, change.after) }
        }
        for change in names { line(change.kind.rawValue, change.domain, change.before, change.after) }
        for change in syscalls {
            let rest = change.calls.count - Self.shownBlocks
            let calls = change.calls.prefix(Self.shownBlocks).joined(separator: ", ")
            line("syscalls", calls + (rest > 0 ? " and \(rest) more" : ""), change.before, change.after)
        }
        for change in settings { line("setting", change.field, change.before ?? "none", change.after ?? "none") }
        return lines.joined(separator: "\n")
    }
}

extension UInt128 {
    fileprivate init(_ address: IPAddress) {
        self = UInt128(address.high) << 64 | UInt128(address.low)
    }
}

extension IPPrefix {
    /// The fewest blocks that hold the addresses from `first` to `last`; none holds IPv4 and IPv6 both.
    fileprivate static func covering(_ first: UInt128, _ last: UInt128) -> [IPPrefix] {
        let ipv4 = UInt128(0xffff_0000_0000)...UInt128(0xffff_ffff_ffff)
        var prefixes: [IPPrefix] = []
        var next = first
        while true {
            var size = min(next.trailingZeroBitCount, 127)
            while true {
                let end = next + ((UInt128(1) << UInt128(size)) - 1)
                let isOneFamily =
                    end < ipv4.lowerBound || next > ipv4.upperBound || (ipv4.contains(next) && ipv4.contains(end))
                if end <= last && isOneFamily { break }
                size -= 1
            }
            let address = IPAddress(high: UInt64(truncatingIfNeeded: next >> 64), low: UInt64(truncatingIfNeeded: next))
            prefixes.append(IPPrefix(address, length: 128 - size))
            let end = next + ((UInt128(1) << UInt128(size)) - 1)
            guard end < last else { return prefixes }
            next = end + 1
        }
    }
}
