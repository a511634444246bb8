public import CorralPolicy

/// How a process came to a path. Raw values are the ones in events.
public enum FileAction: String, Sendable, CaseIterable, Codable {
    case exec
    case open
    case truncate
    /// By open, mknod or bind.
    case create
    case mkdir
    case rmdir
    case unlink
    case rename
    case link
    case symlink
    case chmod
    case chown
}

/// A process of the sandbox was refused a path by the policy's rules under `files`, or would have been.
public struct RefusedPath: Sendable, Equatable {
    public var action: FileAction
    /// Whose rules refused it.
    public var access: FileAccess
    /// In the sandbox's mount namespace; nil where the file has none, or it could not be read. Ends in `…` where it goes on, in `/`
    /// for a directory that was opened.
    public var path: String?
    public var verdict: Verdict
    public var reason: Reason
    /// Nil where it is not known.
    public var process: ProcessReference?
    /// Nil where no policy was asked.
    public var policy: PolicyReference?
    /// One line for a person or a model: what to change in the policy.
    public var hint: String

    public init(
        _ action: FileAction, _ access: FileAccess, path: String?, verdict: Verdict = .deny, reason: Reason,
        process: ProcessReference? = nil, policy: PolicyReference? = nil, hint: String
    ) {
        self.action = action
        self.access = access
        self.path = path
        self.verdict = verdict
        self.reason = reason
        self.process = process
        self.policy = policy
        self.hint = hint
    }

    /// `read /etc/shadow`, or `write /etc/shadow (rename)` where it was not opened or executed.
    public var summary: String {
        let text = "\(access.rawValue) \(path ?? "what has no path")"
        return action == .open || action == .exec ? text : "\(text) (\(action.rawValue))"
    }

    /// The type of its events.
    public var type: EventType { action == .exec ? .process : .file }
}

extension RefusedPath {
    func write(to json: inout JSONWriter) {
        json.key("action")
        json.string(action.rawValue)
        json.key("access")
        json.string(access.rawValue)
        if let path {
            json.key("path")
            json.string(path)
        }
        json.refusalByLSM(verdict, reason, process, policy, hint: hint)
    }

    /// Those of `type` alone.
    init(_ fields: Fields, type: EventType) throws(EventParseError) {
        self.init(
            try fields.word("action"), try fields.word("access"), path: try fields.optionalString("path"),
            verdict: try fields.word("verdict"), reason: try fields.word("reason"),
            process: try fields.optionalObject("process").map(ProcessReference.init),
            policy: try fields.optionalObject("policy").map(PolicyReference.init), hint: try fields.string("hint"))
        guard self.type == type else {
            throw .field("action", expected: "an action that makes events of type \(type.rawValue)")
        }
    }
}
