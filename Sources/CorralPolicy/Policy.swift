/// A policy file as values; docs/POLICY.md describes its text.
public struct Policy: Sendable, Hashable {
    public enum Mode: String, Sendable, CaseIterable {
        case enforce
        /// Lets pass what it would refuse, and reports it as `would_deny`.
        case audit
    }

    public var name: String
    public var mode: Mode
    public var allow: [EgressRule]
    public var deny: [EgressRule]
    /// `egress.limits`.
    public var budgets: EgressBudgets
    public var syscalls: SyscallPolicy
    /// `trace.syscalls`.
    public var trace: TraceSelection
    public var limits: ResourceLimits
    public var files: Files
    public var env: [String: String]
    /// Name of the file it came from, for messages.
    public var file: String

    public struct Files: Sendable, Hashable {
        public var image: String?
        public var mounts: [Mount]
        public var rules = FileRules()

        /// A file or directory of the host shown inside, where the operator of the host allows it.
        public struct Mount: Sendable, Hashable {
            /// Absolute, on the host.
            public var source: String
            /// Absolute, inside; not the root.
            public var target: String
            public var readOnly: Bool

            public init(source: String, target: String, readOnly: Bool = true) {
                self.source = source
                self.target = target
                self.readOnly = readOnly
            }

            /// Most of one policy.
            public static let maximum = 7

            /// Absolute, without `.`, `..`, empty names, and bytes that no path has; not the root; at most 255 bytes.
            public static func isPath(_ text: String) -> Bool {
                guard text.hasPrefix("/"), (2...255).contains(text.utf8.count), !text.utf8.contains(0) else {
                    return false
                }
                return text.dropFirst().split(separator: "/", omittingEmptySubsequences: false).allSatisfy {
                    !$0.isEmpty && $0 != "." && $0 != ".."
                }
            }
        }

        public init(image: String? = nil, mounts: [Mount] = [], rules: FileRules = FileRules()) {
            self.image = image
            self.mounts = mounts
            self.rules = rules
        }
    }

    /// `files.exec`, `files.read` and `files.write`.
    public struct FileRules: Sendable, Hashable {
        private var lists: [FileAccess: PathRules] = [:]

        public init(_ lists: [FileAccess: PathRules] = [:]) { self.lists = lists }

        /// Nil: everything is permitted, and nobody asks.
        public subscript(access: FileAccess) -> PathRules? {
            get { lists[access] }
            set { lists[access] = newValue }
        }

        public var isEmpty: Bool { lists.values.allSatisfy(\.isEmpty) }

        /// The first field that says something, in the order of `FileAccess`.
        public var firstField: String? {
            FileAccess.allCases.first { lists[$0]?.isEmpty == false }.map { "files.\($0.rawValue)" }
        }

        var count: Int { lists.values.reduce(0) { $0 + ($1.allow?.count ?? 0) + $1.deny.count } }

        /// They need the right to mount, which a process has over its own user namespace, or find files without their path.
        static let callsThatMoveFiles = [
            "mount", "move_mount", "open_tree", "open_tree_attr", "fsmount", "pivot_root", "umount2",
            "open_by_handle_at",
        ].filter { SyscallTable.number($0, .amd64) != nil }
    }

    public init(
        name: String, mode: Mode = .enforce, allow: [EgressRule] = [], deny: [EgressRule] = [],
        budgets: EgressBudgets = EgressBudgets(), syscalls: SyscallPolicy = SyscallPolicy(),
        trace: TraceSelection = .none,
        limits: ResourceLimits = ResourceLimits(), files: Files = Files(), env: [String: String] = [:],
        file: String = ""
    ) {
        self.name = name
        self.mode = mode
        self.allow = allow
        self.deny = deny
        self.budgets = budgets
        self.syscalls = syscalls
        self.trace = trace
        self.limits = limits
        self.files = files
        self.env = env
        self.file = file
    }
}

/// One entry of `egress.allow` or `egress.deny`.
public struct EgressRule: Sendable, Hashable {
    public enum Target: Sendable, Hashable {
        case prefix(IPPrefix)
        /// `preset: internet`: global unicast addresses only.
        case internet
        /// In `egress.allow`: the addresses that such names resolve to. In `egress.deny`: the names themselves, which are not
        /// resolved; ports and protocols mean nothing there.
        case domain(DomainPattern)
    }

    public var target: Target
    /// Nil: every port. Closed ranges; they bind tcp and udp, icmp has none.
    public var ports: [ClosedRange<UInt16>]?
    public var protocols: Set<IPProtocol>
    /// Where it stands in its file, from 1; 0 when it comes from no file.
    public var line: Int

    public init(
        target: Target, ports: [ClosedRange<UInt16>]? = nil, protocols: Set<IPProtocol> = [.tcp, .udp], line: Int = 0
    ) {
        self.target = target
        self.ports = ports
        self.protocols = protocols
        self.line = line
    }

    /// Whether it speaks of this protocol and port; the port of icmp means nothing.
    func matches(_ proto: IPProtocol, _ port: UInt16) -> Bool {
        guard protocols.contains(proto) else { return false }
        guard proto != .icmp, let ports else { return true }
        return ports.contains { $0.contains(port) }
    }

    /// The names whose addresses it opens, or that it refuses; nil for a rule on addresses.
    public var names: DomainPattern? {
        if case .domain(let pattern) = target { pattern } else { nil }
    }

    func covers(_ address: IPAddress) -> Bool {
        switch target {
        case .prefix(let prefix): prefix.contains(address)
        case .internet: SpecialRanges.isGlobalUnicast(address)
        // What a name resolves to is opened by pins.
        case .domain: false
        }
    }
}

/// What a sandbox may use of the network from its start to its end. Nil leaves it unlimited.
public struct EgressBudgets: Sendable, Hashable {
    /// Bytes that may leave, counted with the frames' headers.
    public var bytes: UInt64?
    /// Flows that the sandbox may open.
    public var connections: UInt64?
    /// Bits a second that may leave.
    public var bitsPerSecond: UInt64?
    /// Names that it may ask for.
    public var dnsQueries: UInt64?

    public init(
        bytes: UInt64? = nil, connections: UInt64? = nil, bitsPerSecond: UInt64? = nil, dnsQueries: UInt64? = nil
    ) {
        self.bytes = bytes
        self.connections = connections
        self.bitsPerSecond = bitsPerSecond
        self.dnsQueries = dnsQueries
    }
}

/// Everything that is wrong with a policy; it is refused whole.
public struct PolicyError: Error, Sendable, Equatable, CustomStringConvertible {
    public struct Problem: Sendable, Equatable, CustomStringConvertible {
        public var file: String
        /// From 1; 0 where the whole file is meant.
        public var line: Int
        public var column: Int
        /// `egress.allow[1].ports[0]`; empty where the text is no YAML.
        public var field: String
        public var message: String
        /// What would have been right; nil when nothing would.
        public var expected: String?

        public var description: String {
            var text = file
            if line > 0 { text += ":\(line):\(column)" }
            if !field.isEmpty { text += ": \(field)" }
            text += ": \(message)"
            if let expected { text += "; expected \(expected)" }
            return text
        }
    }

    public var problems: [Problem]

    public init(problems: [Problem]) {
        self.problems = problems
    }

    /// One problem a line.
    public var description: String { problems.map(\.description).joined(separator: "\n") }
}
