/// A policy as the kernel's longest-prefix-match trie holds it (layout: bpf/abi/corral_abi.h). Every lookup is answered
/// by its longest match alone.
public struct CompiledPolicy: Sendable, Equatable {
    /// What an address prefix leads to.
    public enum AddressAnswer: Hashable, Sendable {
        /// The same decision for every protocol and port.
        case final(Decision)
        /// Index into `portSets`, and the rule that its answers cite as `CitedRule.ofAddress`.
        case ports(set: Int, rule: RuleReference)
    }

    public struct AddressEntry: Hashable, Sendable {
        public var prefix: IPPrefix
        public var answer: AddressAnswer

        public init(_ prefix: IPPrefix, _ answer: AddressAnswer) {
            self.prefix = prefix
            self.answer = answer
        }
    }

    /// The rule that an answer of a port set cites.
    public enum CitedRule: Hashable, Sendable {
        case none
        /// The rule of the address entry that led to the set: blocks with equal ports share one set.
        case ofAddress
        case rule(RuleReference)
    }

    /// The answer for the ports that share the first `length` bits of `port` (0...16), one protocol.
    public struct PortEntry: Hashable, Sendable {
        public var proto: IPProtocol
        public var port: UInt16
        public var length: Int
        public var verdict: Verdict
        public var reason: Reason
        public var rule: CitedRule

        public init(proto: IPProtocol, port: UInt16, length: Int, verdict: Verdict, reason: Reason, rule: CitedRule) {
            self.proto = proto
            self.port = port
            self.length = length
            self.verdict = verdict
            self.reason = reason
            self.rule = rule
        }
    }

    /// `mode: audit`.
    public var audit: Bool
    /// Some rule allows icmp.
    public var allowsICMP: Bool
    /// Names are resolved, by corrald alone: port 53 of every address is its resolver.
    public var resolvesNames: Bool
    /// What else its processes may ask of the kernel, where the BPF LSM judges that.
    public var operations: Set<KernelOperation>
    /// One entry a prefix, ordered by address, then length; always holds the /0.
    public var addresses: [AddressEntry]
    /// Each set holds a length-0 entry for every protocol. Equal sets are stored once.
    public var portSets: [[PortEntry]]
    /// For each rule of `egress.allow` with a domain, by index, the port set that answers for addresses pinned by it.
    public var namePorts: [Int: Int]
    /// Judged by the BPF LSM alone.
    public var paths: CompiledPaths

    public init(
        audit: Bool, allowsICMP: Bool, resolvesNames: Bool = false, operations: Set<KernelOperation> = [],
        addresses: [AddressEntry], portSets: [[PortEntry]], namePorts: [Int: Int] = [:], paths: CompiledPaths = .none
    ) {
        self.audit = audit
        self.allowsICMP = allowsICMP
        self.resolvesNames = resolvesNames
        self.operations = operations
        self.addresses = addresses
        self.portSets = portSets
        self.namePorts = namePorts
        self.paths = paths
    }

    /// Holds nothing but "no": what a warm sandbox has before it is claimed.
    public static let denyAll = CompiledPolicy(
        audit: false, allowsICMP: false, addresses: [AddressEntry(.everything, .final(Decision(.deny, .noPolicy)))],
        portSets: []
    )
}

/// What a policy is judged against beside its own text: addresses that belong to this host and its pool, reserved in
/// every policy of the instance.
public struct HostContext: Sendable, Hashable {
    /// The host's own addresses, each as a full-length prefix.
    public var hostAddresses: [IPPrefix]
    /// The instance's address pools, where other sandboxes live.
    public var sandboxPools: [IPPrefix]

    public init(hostAddresses: [IPPrefix] = [], sandboxPools: [IPPrefix] = []) {
        self.hostAddresses = hostAddresses
        self.sandboxPools = sandboxPools
    }
}
