/// The smallest policy that permits what a workload was seen to do: from observations to the text of a policy file.
///
/// Names stand in place of the addresses that they resolved to. Nothing is generalised: no wildcard, no block of addresses, no
/// range of ports that was not used as a whole.
public struct PolicyLearner: Sendable {
    /// When something was done, how often, and by which programs.
    public struct Use: Sendable, Equatable {
        /// Nanoseconds since 1970.
        public var first: Int64
        public var last: Int64
        public var count: UInt64
        /// Paths of executables.
        public var programs: Set<String>

        public init(first: Int64, last: Int64, count: UInt64, programs: Set<String>) {
            self.first = first
            self.last = last
            self.count = count
            self.programs = programs
        }

        mutating func add(_ other: Use) {
            first = min(first, other.first)
            last = max(last, other.last)
            count &+= other.count
            programs.formUnion(other.programs)
        }
    }

    /// A destination, as a rule names it.
    private enum Target: Hashable {
        case name(String)
        case address(IPAddress)
    }

    /// What goes into one rule beside its target.
    private struct Service: Hashable {
        var proto: IPProtocol
        /// 0 for icmp.
        var port: UInt16
    }

    private struct Impossible: Hashable {
        var what: String
        var reason: Reason
        var hint: String
    }

    private var uses: [Target: [Service: Use]] = [:]
    private var questions: [String: Use] = [:]
    private var impossible: [Impossible: Use] = [:]
    /// In one sandbox.
    private struct Known: Hashable {
        var sandbox: String
        var address: IPAddress
    }

    /// The name that an address was last given for.
    private var names: [Known: String] = [:]
    /// By name: those that were made, and those that the profile refused.
    private var calls: [String: (made: Use?, refused: Use?)] = [:]
    /// Things that were seen, each as often as it was.
    public private(set) var observations: UInt64 = 0

    public init() {}

    public var isEmpty: Bool { uses.isEmpty && questions.isEmpty && impossible.isEmpty }

    /// A name was asked for; it has to be resolved again, and the addresses stand for it from here on, in that sandbox.
    public mutating func resolve(
        _ name: String, to addresses: [IPAddress], in sandbox: String = "", _ use: Use
    ) {
        // What is no name to a policy cannot be permitted by one.
        guard let pattern = try? DomainPattern(name), !pattern.isWildcard else {
            return refuse(
                "the name \(name)", .nameNotAllowed, hint: "this is no name that a policy can hold", use)
        }
        observations &+= use.count
        Self.add(use, to: pattern.name, in: &questions)
        for address in addresses { names[Known(sandbox: sandbox, address: address.judged)] = pattern.name }
    }

    /// A destination was reached for, or would have been.
    /// - Parameters:
    ///   - name: that the address is known by; nil: what `resolve` was told.
    ///   - port: nil for icmp.
    public mutating func reach(
        _ address: IPAddress, name: String?, _ proto: IPProtocol, port: UInt16?, in sandbox: String = "", _ use: Use
    ) {
        observations &+= use.count
        let judged = address.judged
        let known =
            name.flatMap { try? DomainPattern($0) }.flatMap { $0.isWildcard ? nil : $0.name }
            ?? names[Known(sandbox: sandbox, address: judged)]
        let target = known.map(Target.name) ?? .address(judged)
        let service = Service(proto: proto, port: proto == .icmp ? 0 : port ?? 0)
        guard proto == .icmp || service.port > 0 else { return }
        Self.add(use, to: service, in: &uses[target, default: [:]])
    }

    /// Something was tried that no policy permits, or that none should without a thought.
    public mutating func refuse(_ what: String, _ reason: Reason, hint: String, _ use: Use) {
        observations &+= use.count
        Self.add(use, to: Impossible(what: what, reason: reason, hint: hint), in: &impossible)
    }

    /// A system call was made. `isRefused`: the profile did not permit it.
    public mutating func call(_ name: String, isRefused: Bool, _ use: Use) {
        observations &+= use.count
        var entry = calls[name] ?? (nil, nil)
        if isRefused { Self.add(use, to: &entry.refused) } else { Self.add(use, to: &entry.made) }
        calls[name] = entry
    }

    /// How often a call was made and refused in all: what was not told one by one, too.
    /// - Parameter use: of those that nothing was told of.
    public mutating func count(_ name: String, made: UInt64, refused: UInt64, otherwise use: Use) {
        var entry = calls[name] ?? (nil, nil)
        if made > 0 {
            entry.made = entry.made ?? use
            entry.made?.count = made
        }
        if refused > 0 {
            entry.refused = entry.refused ?? use
            entry.refused?.count = refused
        }
        calls[name] = entry
    }

    private static func add(_ use: Use, to sum: inout Use?) {
        if sum == nil { sum = use } else { sum?.add(use) }
    }

    private static func add<Key: Hashable>(_ use: Use, to key: Key, in uses: inout [Key: Use]) {
        if uses[key] == nil { uses[key] = use } else { uses[key]?.add(use) }
    }

    // MARK: text

    /// How the section `syscalls` is written.
    public enum Calls: Sendable {
        /// Left out: the default profile.
        case none
        /// No call but those that were made.
        case seen
        /// Those that the profile refused are permitted too.
        case tried
    }

    /// A policy file. Each line that permits something ends with a comment that says when, how often and by which programs it
    /// was used.
    /// - Parameters:
    ///   - name: of the policy.
    ///   - source: what was observed, for the first line; a text without line breaks.
    ///   - time: nanoseconds since 1970 as text.
    public func policy(
        named name: String, source: String, calls selection: Calls = .none, time: (Int64) -> String
    ) -> String {
        var lines = [
            "# Learned from \(Self.comment(source)). Read it before you use it: it permits what was done, good or bad.",
            "apiVersion: corral/v1", "name: \(name)",
        ]
        let rules = rules(time)
        if !rules.isEmpty { lines += ["egress:", "  allow:"] + rules }
        if selection != .none { lines += syscalls(selection, time) }
        let refused = selection == .tried ? [] : refusedCalls(time)
        if !impossible.isEmpty || !refused.isEmpty {
            lines.append("# Tried, and not permitted by this policy:")
            lines += refused
            lines += impossible.sorted { ($0.value.first, $0.key.what) < ($1.value.first, $1.key.what) }.map {
                key, use in
                "#   \(Self.comment(key.what)): \(key.reason.rawValue); \(Self.comment(key.hint)) (\(Self.text(use, time)))"
            }
        }
        return lines.map { $0 + "\n" }.joined()
    }

    /// One line a rule, in the order of their first use.
    private func rules(_ time: (Int64) -> String) -> [String] {
        var rules: [(use: Use, text: String, note: String)] = []
        for (target, services) in uses {
            // Ports that both protocols use stand in one rule; of those of one alone, each protocol has its own.
            let tcp = services.filter { $0.key.proto == .tcp }
            let udp = services.filter { $0.key.proto == .udp }
            let both = Set(tcp.keys.map(\.port)).intersection(udp.keys.map(\.port))
            var parts: [(protocols: String?, services: [Service: Use])] = []
            parts.append((nil, services.filter { $0.key.proto != .icmp && both.contains($0.key.port) }))
            parts.append(("tcp", tcp.filter { !both.contains($0.key.port) }))
            parts.append(("udp", udp.filter { !both.contains($0.key.port) }))
            parts.append(("icmp", services.filter { $0.key.proto == .icmp }))
            for part in parts {
                guard var use = part.services.values.first else { continue }
                use.count = 0
                for other in part.services.values { use.add(other) }
                for ports in Self.ports(part.services.keys.map(\.port).filter { $0 > 0 }) {
                    var text = "{ \(Self.text(target))"
                    if !ports.isEmpty { text += ", ports: [\(ports.joined(separator: ", "))]" }
                    if let protocols = part.protocols { text += ", protocol: \(protocols)" }
                    rules.append((use, text + " }", ""))
                }
            }
        }
        for (name, use) in questions where uses[.name(name)] == nil {
            // The resolver answers port 53 of every address, so that this opens nothing else.
            rules.append((use, "{ domain: \(name), ports: [53] }", "only resolved, "))
        }
        return rules.sorted { ($0.use.first, $0.text) < ($1.use.first, $1.text) }.map { rule in
            "    - \(rule.text)  # \(rule.note)\(Self.text(rule.use, time))"
        }
    }

    private func syscalls(_ selection: Calls, _ time: (Int64) -> String) -> [String] {
        let (base, standard) = (SyscallProfile.named(.none), SyscallProfile.named(.standard))
        var entries: [String] = []
        for (name, use) in calls.sorted(by: { $0.key < $1.key }) where SyscallTable.number(name, .amd64) != nil {
            var permitted = use.made
            var isAny = false
            if selection == .tried, let refused = use.refused, standard.rule(for: name).answer != .absent {
                Self.add(refused, to: &permitted)
                isAny = standard.rule(for: name).answer.isPermitted
            }
            guard let permitted, !base.rule(for: name).answer.isPermitted else { continue }
            let entry = isAny ? "{ name: \(name), arguments: any }" : name
            entries.append("    - \(entry)  # \(Self.text(permitted, time, onlyFirst: true))")
        }
        let comment = "  # nothing but what follows, and the few calls that every process needs"
        return ["syscalls:", "  profile: none\(comment)"] + (entries.isEmpty ? [] : ["  allow:"] + entries)
            + ["# trace: { syscalls: first }  # an event of each call that is refused; every call takes longer"]
    }

    /// Comments.
    private func refusedCalls(_ time: (Int64) -> String) -> [String] {
        let standard = SyscallProfile.named(.standard)
        return calls.sorted { $0.key < $1.key }.compactMap { name, use in
            guard let refused = use.refused else { return nil }
            let hint =
                switch standard.rule(for: name).answer {
                // Programs do without these, by what they did before there were such calls.
                case .absent: "no policy but an unconfined one has this call; programs do without it"
                case _ where SyscallTable.number(name, .amd64) == nil: "no profile permits calls of other architectures"
                default: "--syscalls tried permits it"
                }
            return "#   \(Self.comment(name)): \(Reason.syscallNotAllowed.rawValue); \(hint) "
                + "(\(Self.text(refused, time, onlyFirst: true)))"
        }
    }

    /// Entries of `ports`, in lists as long as a rule may have; one empty list where there is none.
    private static func ports(_ ports: [UInt16]) -> [[String]] {
        var ranges: [ClosedRange<UInt16>] = []
        for port in Set(ports).sorted() {
            if let last = ranges.last, last.upperBound < port, last.upperBound + 1 == port {
                ranges[ranges.count - 1] = last.lowerBound...port
            } else {
                ranges.append(port...port)
            }
        }
        guard !ranges.isEmpty else { return [[]] }
        let entries = ranges.flatMap { range -> [String] in
            switch range.count {
            case 1: ["\(range.lowerBound)"]
            case 2: ["\(range.lowerBound)", "\(range.upperBound)"]
            default: ["\"\(range.lowerBound)-\(range.upperBound)\""]
            }
        }
        return stride(from: 0, to: entries.count, by: mostPorts).map {
            Array(entries[$0..<min(entries.count, $0 + mostPorts)])
        }
    }

    private static let mostPorts = 1024

    private static func text(_ target: Target) -> String {
        switch target {
        case .name(let name): "domain: \(name)"
        case .address(let address):
            address.ipv4 == nil
                ? "cidr: \"\(IPPrefix(address, length: 128))\"" : "cidr: \(IPPrefix(address, length: 128))"
        }
    }

    /// `12 times, 2026-11-24T05:12:01Z to 2026-11-24T05:13:01Z, by /usr/bin/curl`.
    /// - Parameter onlyFirst: when it was used last is not known.
    private static func text(_ use: Use, _ time: (Int64) -> String, onlyFirst: Bool = false) -> String {
        let first = (onlyFirst && use.count > 1 ? "first " : "") + time(use.first)
        var text = use.count == 1 ? "once, \(first)" : "\(use.count) times, \(first)"
        if use.last != use.first, !onlyFirst { text += " to \(time(use.last))" }
        let programs = use.programs.sorted()
        guard !programs.isEmpty else { return text }
        text += ", by " + programs.prefix(mostPrograms).map(comment).joined(separator: ", ")
        return programs.count > mostPrograms ? text + " and \(programs.count - mostPrograms) more" : text
    }

    private static let mostPrograms = 3
    private static let longestComment = 400

    /// What others chose, made fit for the comment of one line.
    private static func comment(_ text: String) -> String {
        String(
            String.UnicodeScalarView(
                text.unicodeScalars.prefix(longestComment).map { scalar in
                    switch scalar.properties.generalCategory {
                    case .control, .format, .lineSeparator, .paragraphSeparator, .surrogate, .unassigned, .privateUse:
                        "?"
                    default: scalar
                    }
                }))
    }
}
