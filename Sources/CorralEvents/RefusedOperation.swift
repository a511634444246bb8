public import CorralPolicy

/// A process of the sandbox was refused something beside the network, by the hooks of the BPF LSM.
public struct RefusedOperation: Sendable, Equatable {
    public var operation: KernelOperation
    public var verdict: Verdict
    public var reason: Reason
    /// Nil where it is not known.
    public var process: ProcessReference?
    /// Nil where no policy was asked.
    public var policy: PolicyReference?
    /// One line for a person or a model: what to add to the policy, or why it never can be.
    public var hint: String

    public init(
        _ operation: KernelOperation, verdict: Verdict = .deny, reason: Reason, process: ProcessReference? = nil,
        policy: PolicyReference? = nil, hint: String
    ) {
        self.operation = operation
        self.verdict = verdict
        self.reason = reason
        self.process = process
        self.policy = policy
        self.hint = hint
    }

    /// The type of its events.
    public var type: EventType { operation == .receive ? .file : .process }
}

extension RefusedOperation {
    func write(to json: inout JSONWriter) {
        json.key("action")
        json.string(operation.rawValue)
        json.refusalByLSM(verdict, reason, process, policy, hint: hint)
    }

    /// Those of `type` alone.
    init(_ fields: Fields, type: EventType) throws(EventParseError) {
        self.init(
            try fields.word("action"), verdict: try fields.word("verdict"), reason: try fields.word("reason"),
            process: try fields.optionalObject("process").map(ProcessReference.init),
            policy: try fields.optionalObject("policy").map(PolicyReference.init), hint: try fields.string("hint"))
        guard self.type == type else {
            throw .field("action", expected: "an operation that makes events of type \(type.rawValue)")
        }
    }
}

extension JSONWriter {
    /// What every refusal by a hook of the BPF LSM says after what was refused.
    mutating func refusalByLSM(
        _ verdict: Verdict, _ reason: Reason, _ process: ProcessReference?, _ policy: PolicyReference?, hint: String
    ) {
        key("verdict")
        string(verdict.rawValue)
        key("reason")
        string(reason.rawValue)
        key("hook")
        string(Hook.lsm.rawValue)
        if let process {
            key("process")
            process.write(to: &self)
        }
        policy?.write(to: &self)
        key("hint")
        string(hint)
    }
}
