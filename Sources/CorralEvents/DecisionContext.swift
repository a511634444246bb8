public import CorralPolicy

/// What the controller knows about a sandbox and the kernel does not: turns a decoded record into an event.
public struct DecisionContext: Sendable, Equatable {
    public var sandbox: SandboxReference
    /// Nanoseconds since 1970 at which CLOCK_BOOTTIME was 0.
    public var bootTime: Int64
    /// Host uid of the sandbox's root, and how many uids it has.
    public var uidBase: UInt32
    public var uidCount: UInt32
    /// Name and generation of the policy that the record's number means; nil when it is not known.
    public var policy: PolicyReference?
    /// The rules of that policy, for the hint; nil when they are not known.
    public var rules: Policy?
    /// What else is reserved on this host, for the hint.
    public var host: HostContext?
    /// The name that the sandbox resolved to the record's address.
    public var remoteName: String?

    public init(
        sandbox: SandboxReference, bootTime: Int64, uidBase: UInt32, uidCount: UInt32, policy: PolicyReference? = nil,
        remoteName: String? = nil
    ) {
        self.sandbox = sandbox
        self.bootTime = bootTime
        self.uidBase = uidBase
        self.uidCount = uidCount
        self.policy = policy
        self.remoteName = remoteName
    }
}

extension WireDecision {
    /// The event of this record, with its hint.
    public func event(in context: DecisionContext) -> Event {
        let (sum, overflow) = Int64(clamping: time).addingReportingOverflow(context.bootTime)
        let body: Event.Body
        switch direction {
        case .egress: body = .egress(traffic(in: context))
        case .ingress: body = .ingress(traffic(in: context))
        case .operation(let operation):
            let hint = reason == .noPolicy ? Refusal(reason: reason).hint : operation.hint
            body = .operation(
                RefusedOperation(
                    operation, verdict: verdict, reason: reason, process: process.map { $0.reference(in: context) },
                    policy: policy == nil
                        ? nil : context.policy.map { PolicyReference(name: $0.name, generation: $0.generation) },
                    hint: hint))
        case .path(let path): body = .path(refused(path, in: context))
        }
        return Event(time: overflow ? .max : sum, seq: seq, sandbox: context.sandbox, body: body)
    }

    private func refused(_ found: Path, in context: DecisionContext) -> RefusedPath {
        var refusal = PathRefusal(found.access, reason: reason, path: found.path)
        if case .path(let rule)? = rule { refusal.rule = rule }
        refusal.isAbove = found.isAbove
        return RefusedPath(
            found.action, found.access, path: found.path, verdict: verdict, reason: reason,
            process: process.map { $0.reference(in: context) },
            policy: policy == nil
                ? nil : context.policy.map { PolicyReference(name: $0.name, generation: $0.generation, rule: rule) },
            hint: refusal.hint)
    }

    private func traffic(in context: DecisionContext) -> Traffic {
        var traffic = Traffic(
            verdict: verdict, reason: reason, hook: hook, process: process.map { $0.reference(in: context) },
            remote: remote.map { Remote(ip: $0, port: remotePort, name: context.remoteName) }, localPort: localPort,
            proto: proto
        )
        if policy != nil, let named = context.policy {
            traffic.policy = PolicyReference(name: named.name, generation: named.generation, rule: rule)
        }
        traffic.hint = traffic.adviceWhenRefused(rule: rule, direction: direction, context: context)
        return traffic
    }
}

extension WireDecision.Process {
    /// Of a uid that the sandbox does not have; the kernel shows it the same way inside (/proc/sys/kernel/overflowuid).
    private static let overflowUID: UInt32 = 65534

    func reference(in context: DecisionContext) -> ProcessReference {
        let uid = hostUID &- context.uidBase
        return ProcessReference(
            pid: pid, hostPid: hostPid, ppid: ppid,
            uid: hostUID >= context.uidBase && uid < context.uidCount ? uid : Self.overflowUID, comm: comm, exe: exe,
            // A pid may be used again, its pid and start time together may not.
            execID: Self.execID(hostPid: hostPid, startedAt: startedAt, execCount: execCount)
        )
    }

    static func execID(hostPid: UInt32, startedAt: UInt64, execCount: UInt32) -> String {
        "\(hostPid)-\(String(startedAt, radix: 36))-\(execCount)"
    }
}
