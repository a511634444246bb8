public import CorralPolicy

/// One thing that happened in, or was refused to, a sandbox. docs/EVENTS.md describes its JSON.
public struct Event: Sendable, Equatable {
    /// Nanoseconds since 1970, UTC.
    public var time: Int64
    /// Number of this event among those of its sandbox, from 1. 0 for events that take no number: `lost`, `audit`, `gap`.
    public var seq: UInt64
    /// Nil only for a `lost` event that counts over all sandboxes, and for `audit` and `gap` events that are about none.
    public var sandbox: SandboxReference?
    public var body: Body

    /// What happened, by type.
    public enum Body: Sendable, Equatable {
        case sandbox(Lifecycle)
        case egress(Traffic)
        case ingress(Traffic)
        case dns(NameQuery)
        case limit(LimitReached)
        case process(ProcessChange)
        case operation(RefusedOperation)
        /// A path was refused: of type `process` what was to be executed, otherwise `file`.
        case path(RefusedPath)
        case syscall(Syscall)
        case policy(PolicyChange)
        case lost(Loss)
        case audit(AuditRecord)
        case gap(Gap)
    }

    public init(time: Int64, seq: UInt64, sandbox: SandboxReference?, body: Body) {
        self.time = time
        self.seq = seq
        self.sandbox = sandbox
        self.body = body
    }
}

/// The closed list of event types. Raw values are the ones in events and filters.
public enum EventType: String, Sendable, CaseIterable, Codable {
    case sandbox
    case process
    case egress
    case ingress
    case dns
    case syscall
    case file
    case limit
    case policy
    case lost
    case audit
    case gap
}

/// The sandbox an event belongs to.
public struct SandboxReference: Sendable, Hashable {
    public var id: String
    public var name: String

    public init(id: String, name: String) {
        self.id = id
        self.name = name
    }
}

/// A step in the life of a sandbox.
public enum Lifecycle: Sendable, Equatable {
    case created
    case claimed
    case started(command: [String])
    case paused
    case resumed
    /// Exit code of the command; 128 + signal when a signal ended it, 124 after a timeout, 137 when it was removed.
    case exited(exitCode: Int32)
    case destroyed
}

/// A decision about a packet or a call that would send one.
public struct Traffic: Sendable, Equatable {
    public var verdict: Verdict
    public var reason: Reason
    /// Where it was decided.
    public var hook: Hook?
    /// Nil where the packet alone was seen.
    public var process: ProcessReference?
    /// The other side: destination of an egress event (JSON `dst`), source of an ingress event (JSON `src`).
    public var remote: Remote?
    /// Port on the sandbox's side; nil where not known.
    public var localPort: UInt16?
    public var proto: TrafficProtocol?
    /// Nil where no policy was asked.
    public var policy: PolicyReference?
    /// One line for a person or a model: what to add to the policy, or why it never can be. Nil when allowed.
    public var hint: String?

    public init(
        verdict: Verdict, reason: Reason, hook: Hook? = nil, process: ProcessReference? = nil, remote: Remote? = nil,
        localPort: UInt16? = nil, proto: TrafficProtocol? = nil, policy: PolicyReference? = nil, hint: String? = nil
    ) {
        self.verdict = verdict
        self.reason = reason
        self.hook = hook
        self.process = process
        self.remote = remote
        self.localPort = localPort
        self.proto = proto
        self.policy = policy
        self.hint = hint
    }
}

/// Where in the kernel a decision was made. Raw values are the ones in events.
public enum Hook: String, Sendable, CaseIterable, Codable {
    case sockCreate = "sock_create"
    case connect4
    case connect6
    case sendmsg4
    case sendmsg6
    /// A frame that left the sandbox.
    case vethEgress = "veth_egress"
    /// A frame on its way into the sandbox.
    case vethIngress = "veth_ingress"
    /// A packet that a process of an enforced cgroup sends.
    case cgroupEgress = "cgroup_egress"
    /// An operation of a process, by the BPF LSM.
    case lsm
}

/// The process that asked.
public struct ProcessReference: Sendable, Equatable {
    /// In the sandbox's pid namespace.
    public var pid: UInt32
    public var hostPid: UInt32
    /// In the sandbox's pid namespace.
    public var ppid: UInt32
    /// In the sandbox's user namespace.
    public var uid: UInt32
    /// The kernel's name of the task, at most 15 bytes; chosen by the process itself.
    public var comm: String
    /// Path of its executable; nil where the kernel could not read it.
    public var exe: String?
    /// The same for all events between two execve calls of one process, and for nothing else on this host since boot.
    public var execID: String

    public init(
        pid: UInt32, hostPid: UInt32, ppid: UInt32, uid: UInt32, comm: String, exe: String?, execID: String
    ) {
        self.pid = pid
        self.hostPid = hostPid
        self.ppid = ppid
        self.uid = uid
        self.comm = comm
        self.exe = exe
        self.execID = execID
    }
}

/// An address outside the sandbox.
public struct Remote: Sendable, Hashable {
    public var ip: IPAddress
    /// Nil where the protocol has none.
    public var port: UInt16?
    /// The name that the sandbox resolved to this address; nil when it resolved none.
    public var name: String?

    public init(ip: IPAddress, port: UInt16? = nil, name: String? = nil) {
        self.ip = ip
        self.port = port
        self.name = name
    }
}

/// What a frame or socket carries.
public enum TrafficProtocol: Sendable, Hashable {
    /// IANA protocol number.
    case ip(UInt8)
    /// Not IP at all.
    case ethertype(UInt16)

    public static let tcp = TrafficProtocol.ip(6)
    public static let udp = TrafficProtocol.ip(17)
    public static let icmp = TrafficProtocol.ip(1)
}

/// The policy that was asked.
public struct PolicyReference: Sendable, Hashable {
    public var name: String
    /// Counts the policies of this sandbox, from 1.
    public var generation: UInt32
    /// Nil when no rule decided.
    public var rule: RuleReference?

    public init(name: String, generation: UInt32, rule: RuleReference? = nil) {
        self.name = name
        self.generation = generation
        self.rule = rule
    }
}

/// A limit of the sandbox took effect.
public struct LimitReached: Sendable, Equatable {
    public enum Kind: String, Sendable, CaseIterable, Codable {
        case oom
        case pids
        case disk
        case budget
        case timeout
        case cpu
    }

    /// Which of `egress.limits`.
    public enum Budget: String, Sendable, CaseIterable, Codable {
        case bytes
        case connections
        case rate
        case dnsQueries
    }

    public var limit: Kind
    /// Nil unless `limit` is `budget`.
    public var budget: Budget?
    /// The limit itself, in milliseconds (timeout), bytes (oom, disk), processes (pids) or the unit of the budget (bytes,
    /// connections, bits a second, queries), thousandths of a processor (cpu); nil where not known.
    public var value: UInt64?
    /// How often it was hit until now: processes killed (oom), forks refused (pids), periods of a tenth of a second that ran
    /// out (cpu); nil where nobody counts.
    public var count: UInt64?

    public init(_ limit: Kind, budget: Budget? = nil, value: UInt64? = nil, count: UInt64? = nil) {
        self.limit = limit
        self.budget = budget
        self.value = value
        self.count = count
    }
}

/// Events that happened and were not delivered.
public struct Loss: Sendable, Equatable {
    public enum Place: String, Sendable, CaseIterable, Codable {
        /// The ring buffer was full: nobody got them.
        case kernel
        /// This reader fell behind; others may have got them.
        case reader
        /// The journal fell behind; readers may have got them.
        case journal
        /// The sandbox has used up its share of the journal; readers may have got them.
        case share = "journal_share"
    }

    public var count: UInt64
    public var place: Place

    public init(count: UInt64, place: Place) {
        self.count = count
        self.place = place
    }
}

extension Event {
    public var type: EventType {
        switch body {
        case .sandbox: .sandbox
        case .egress: .egress
        case .ingress: .ingress
        case .dns: .dns
        case .limit: .limit
        case .process: .process
        case .operation(let refused): refused.type
        case .path(let refused): refused.type
        case .syscall: .syscall
        case .policy: .policy
        case .lost: .lost
        case .audit: .audit
        case .gap: .gap
        }
    }

    /// The decision that an egress or ingress event reports.
    public var traffic: Traffic? {
        switch body {
        case .egress(let traffic), .ingress(let traffic): traffic
        case .sandbox, .dns, .limit, .process, .operation, .path, .syscall, .policy, .lost, .audit, .gap: nil
        }
    }

    /// The call that a syscall event reports.
    public var syscall: Syscall? {
        if case .syscall(let call) = body { call } else { nil }
    }

    /// Who did it; nil where that is not known, or nobody did.
    public var process: ProcessReference? {
        switch body {
        case .egress(let traffic), .ingress(let traffic): traffic.process
        case .process(let change): change.process
        case .operation(let refused): refused.process
        case .path(let refused): refused.process
        case .syscall(let call): call.process
        case .sandbox, .dns, .limit, .policy, .lost, .audit, .gap: nil
        }
    }

    /// What an LSM hook refused.
    public var refusedOperation: RefusedOperation? {
        if case .operation(let refused) = body { refused } else { nil }
    }

    /// A path that an LSM hook refused.
    public var refusedPath: RefusedPath? {
        if case .path(let refused) = body { refused } else { nil }
    }

    private var isRefusedCall: Bool { syscall?.isRefused ?? false }

    /// The question that a dns event reports.
    public var nameQuery: NameQuery? {
        if case .dns(let query) = body { query } else { nil }
    }

    public var verdict: Verdict? {
        traffic?.verdict ?? nameQuery?.verdict ?? refusedOperation?.verdict ?? refusedPath?.verdict
            ?? (isRefusedCall ? .deny : nil)
    }

    public var reason: Reason? {
        traffic?.reason ?? nameQuery?.reason ?? refusedOperation?.reason ?? refusedPath?.reason
            ?? (isRefusedCall ? .syscallNotAllowed : nil)
    }
}

extension Lifecycle {
    /// The word in the event's `action`.
    public var action: String {
        switch self {
        case .created: "created"
        case .claimed: "claimed"
        case .started: "started"
        case .paused: "paused"
        case .resumed: "resumed"
        case .exited: "exited"
        case .destroyed: "destroyed"
        }
    }
}

extension TrafficProtocol: CustomStringConvertible, LosslessStringConvertible {
    /// `tcp`, `udp`, `icmp`, `icmpv6`, `arp`; otherwise `ip-47` or `ethertype-0x88cc`.
    public init?(_ description: String) {
        switch description {
        case "tcp": self = .tcp
        case "udp": self = .udp
        case "icmp": self = .icmp
        case "icmpv6": self = .ip(58)
        case "arp": self = .ethertype(0x0806)
        default:
            if description.hasPrefix("ip-"), let number = UInt8(description.dropFirst(3)) {
                self = .ip(number)
            } else if description.hasPrefix("ethertype-0x"), let number = UInt16(description.dropFirst(12), radix: 16) {
                self = .ethertype(number)
            } else {
                return nil
            }
        }
    }

    public var description: String {
        switch self {
        case .tcp: return "tcp"
        case .udp: return "udp"
        case .icmp: return "icmp"
        case .ip(58): return "icmpv6"
        case .ip(let number): return "ip-\(number)"
        case .ethertype(0x0806): return "arp"
        case .ethertype(let number):
            let digits = String(number, radix: 16)
            return "ethertype-0x" + String(repeating: "0", count: 4 - digits.count) + digits
        }
    }
}
