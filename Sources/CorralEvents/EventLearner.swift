public import CorralPolicy

/// Learns a policy from events, which come in their order.
public struct EventLearner: Sendable {
    public private(set) var learner = PolicyLearner()
    /// Of a sandbox's own events: to prove that none is missing.
    public private(set) var seen: [String: Set<UInt64>] = [:]
    /// Events that are known to be missing.
    public private(set) var lost: UInt64 = 0
    /// Executables by `exec_id`.
    private var programs: [String: String] = [:]

    public init() {}

    public mutating func learn(_ event: Event) {
        if let id = event.sandbox?.id, event.seq > 0 { seen[id, default: []].insert(event.seq) }
        switch event.body {
        case .process(let change):
            switch change.action {
            case .exec: if let exe = change.process.exe { programs[change.process.execID] = exe }
            case .fork(let child): programs[child.execID] = program(of: change.process)
            case .exit: break
            }
        case .dns(let query): learn(query, event)
        case .egress(let traffic): learn(traffic, event)
        case .syscall(let call):
            // No profile speaks of what a ring is asked for.
            if call.abi == .ioUring { return }
            learner.call(call.name, isRefused: call.isRefused, use(event.time, call.process))
        case .lost(let loss): lost &+= loss.count
        case .gap(let gap): lost &+= gap.count ?? 1
        case .sandbox, .ingress, .operation, .path, .limit, .policy, .audit: break
        }
    }

    /// How often a call was made and refused in all, between two moments.
    public mutating func learn(call name: String, made: UInt64, refused: UInt64, from first: Int64, to last: Int64) {
        learner.count(
            name, made: made, refused: refused,
            otherwise: PolicyLearner.Use(first: first, last: last, count: 0, programs: []))
    }

    private func program(of process: ProcessReference) -> String {
        process.exe ?? programs[process.execID] ?? process.comm
    }

    private func use(_ time: Int64, _ process: ProcessReference?, count: UInt64 = 1) -> PolicyLearner.Use {
        let names = process.map { [TerminalText.neutralised(program(of: $0))] } ?? []
        return PolicyLearner.Use(first: time, last: time, count: count, programs: Set(names))
    }

    private mutating func learn(_ query: NameQuery, _ event: Event) {
        let use = use(event.time, nil, count: query.count)
        switch query.reason {
        case .allowedByRule, .nameNotAllowed, .deniedByRule:
            learner.resolve(query.name, to: query.answers, in: event.sandbox?.id ?? "", use)
        default:
            learner.refuse(
                "\(query.recordType) \(TerminalText.neutralised(query.name))", query.reason,
                hint: query.hint ?? "no policy changes that", use)
        }
    }

    private mutating func learn(_ traffic: Traffic, _ event: Event) {
        // Questions to name servers, which are told as such.
        if traffic.remote?.port == 53, traffic.verdict == .allow, traffic.policy?.rule == nil { return }
        let use = use(event.time, traffic.process)
        switch traffic.reason {
        case .allowedByRule, .noMatchingRule, .deniedByRule, .portNotAllowed, .protocolNotAllowed, .nameNotResolvedHere:
            // A socket that has no destination yet.
            guard let remote = traffic.remote, let proto = traffic.proto else { return }
            let known: IPProtocol? =
                switch proto {
                case .tcp: .tcp
                case .udp: .udp
                case .icmp, .ip(58): .icmp
                default: nil
                }
            if let known {
                return learner.reach(
                    remote.ip, name: remote.name, known, port: remote.port, in: event.sandbox?.id ?? "", use)
            }
        // What a budget stops is permitted otherwise.
        case .limitExhausted: return
        default: break
        }
        learner.refuse(
            Self.text(traffic), traffic.reason, hint: traffic.hint ?? "no policy can permit it", use)
    }

    private static func text(_ traffic: Traffic) -> String {
        let proto = traffic.proto?.description ?? "a frame"
        guard let remote = traffic.remote else { return proto }
        let ip = remote.ip.ipv4 == nil ? "[\(remote.ip)]" : "\(remote.ip)"
        return (remote.port.map { "\(ip):\($0)" } ?? ip) + "/\(proto)"
    }
}
