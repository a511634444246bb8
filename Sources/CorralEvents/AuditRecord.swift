/// What somebody asked of corrald, and what became of it.
public struct AuditRecord: Sendable, Equatable {
    public enum Action: String, Sendable, CaseIterable, Codable {
        /// corrald itself.
        case start
        case stop
        case create
        case kill
        case remove
        case exec
        case pause
        case resume
        case applyPolicy = "apply_policy"
        case enforce
        case release
        case importImage = "import_image"
        case removeImage = "remove_image"
        case snapshot
        case importSnapshot = "import_snapshot"
        case removeSnapshot = "remove_snapshot"
        case copyIn = "copy_in"
        case copyOut = "copy_out"
    }

    public enum Outcome: Sendable, Equatable {
        case done
        /// `code` is that of the API's error.
        case refused(code: String, message: String)
    }

    public var action: Action
    public var outcome: Outcome
    /// Nil where the transport does not tell.
    public var by: Requester?
    /// The sandbox or cgroup as the caller named it, where no sandbox is known by that.
    public var target: String?
    /// Without a rule.
    public var policy: PolicyReference?
    /// Of the policy's text as the caller sent it.
    public var policyHash: SHA256?
    public var command: [String]?
    public var signal: Int32?
    /// Names of the secrets that were given; nothing of what is in them.
    public var secrets: [String]?

    public init(
        _ action: Action, outcome: Outcome = .done, by: Requester? = nil, target: String? = nil,
        policy: PolicyReference? = nil, policyHash: SHA256? = nil, command: [String]? = nil, signal: Int32? = nil,
        secrets: [String]? = nil
    ) {
        self.action = action
        self.outcome = outcome
        self.by = by
        self.target = target
        self.policy = policy
        self.policyHash = policyHash
        self.command = command
        self.signal = signal
        self.secrets = secrets
    }
}

/// A process of the host, as the kernel noted it when it connected.
public struct Requester: Sendable, Equatable {
    public var uid: UInt32
    public var gid: UInt32
    public var pid: Int32

    public init(uid: UInt32, gid: UInt32, pid: Int32) {
        self.uid = uid
        self.gid = gid
        self.pid = pid
    }
}

/// A place in a journal, or in a stream, that does not hold all that happened.
public struct Gap: Sendable, Equatable {
    public enum Cause: String, Sendable, CaseIterable, Codable {
        /// Bytes at the end of a file were no whole record; they were set aside.
        case tornLine = "torn_line"
        /// The corrald before this one did not stop in good order: what it had not written is lost.
        case uncleanStop = "unclean_stop"
        /// Records could not be written for a time.
        case writeFailed = "write_failed"
        /// Records may not have reached the disk.
        case syncFailed = "sync_failed"
        /// Somebody removed the file that was being written.
        case fileRemoved = "file_removed"
        /// The end of the journal could not be read: the chain begins anew.
        case unreadable
        /// The oldest files were removed, as the settings say.
        case retention
        /// The reader had no connection to corrald.
        case disconnected
    }

    public var cause: Cause
    /// When it began, nanoseconds since 1970, UTC; the event's time is its end. Nil where it is no span of time.
    public var from: Int64?
    /// Events known to be missing.
    public var count: UInt64?
    /// The last record that was removed, with its hash.
    public var through: UInt64?
    public var hash: SHA256?
    /// What it is about, or where bytes were set aside.
    public var file: String?
    public var bytes: UInt64?
    public var error: String?

    public init(
        _ cause: Cause, from: Int64? = nil, count: UInt64? = nil, through: UInt64? = nil, hash: SHA256? = nil,
        file: String? = nil, bytes: UInt64? = nil, error: String? = nil
    ) {
        self.cause = cause
        self.from = from
        self.count = count
        self.through = through
        self.hash = hash
        self.file = file
        self.bytes = bytes
        self.error = error
    }
}

// MARK: JSON

extension AuditRecord {
    func write(to json: inout JSONWriter) {
        json.key("action")
        json.string(action.rawValue)
        switch outcome {
        case .done:
            json.key("outcome")
            json.string("done")
        case .refused(let code, let message):
            json.key("outcome")
            json.string("refused")
            json.key("error")
            json.beginObject()
            json.key("code")
            json.string(code)
            json.key("message")
            json.string(message)
            json.endObject()
        }
        if let by {
            json.key("by")
            json.beginObject()
            json.key("uid")
            json.number(by.uid)
            json.key("gid")
            json.number(by.gid)
            json.key("pid")
            json.number(by.pid)
            json.endObject()
        }
        if let target {
            json.key("target")
            json.string(target)
        }
        policy?.write(to: &json)
        if let policyHash {
            json.key("policy_sha256")
            json.string(policyHash.description)
        }
        if let command {
            json.key("command")
            json.beginArray()
            for argument in command {
                json.separate()
                json.string(argument)
            }
            json.endArray()
        }
        if let signal {
            json.key("signal")
            json.number(signal)
        }
        if let secrets {
            json.key("secrets")
            json.beginArray()
            for name in secrets {
                json.separate()
                json.string(name)
            }
            json.endArray()
        }
    }

    init(_ fields: Fields) throws(EventParseError) {
        let outcome: Outcome
        switch try fields.string("outcome") {
        case "done": outcome = .done
        case "refused":
            let error = try fields.object("error")
            outcome = .refused(code: try error.string("code"), message: try error.string("message"))
        default: throw .field("outcome", expected: "done or refused")
        }
        self.init(
            try fields.word("action"), outcome: outcome,
            by: try fields.optionalObject("by").map { by throws(EventParseError) in
                Requester(uid: try by.number("uid"), gid: try by.number("gid"), pid: try by.number("pid"))
            },
            target: try fields.optionalString("target"),
            policy: try fields.optionalObject("policy").map(PolicyReference.init),
            policyHash: try fields.optionalHash("policy_sha256"),
            command: try fields.optionalStrings("command"), signal: try fields.optionalNumber("signal"),
            secrets: try fields.optionalStrings("secrets")
        )
    }
}

extension Gap {
    func write(to json: inout JSONWriter) {
        json.key("cause")
        json.string(cause.rawValue)
        if let from {
            json.key("from")
            json.time(from)
        }
        if let count {
            json.key("count")
            json.number(count)
        }
        if let through {
            json.key("through")
            json.number(through)
        }
        if let hash {
            json.key("through_hash")
            json.string(hash.description)
        }
        if let file {
            json.key("file")
            json.string(file)
        }
        if let bytes {
            json.key("bytes")
            json.number(bytes)
        }
        if let error {
            json.key("error")
            json.string(error)
        }
    }

    init(_ fields: Fields) throws(EventParseError) {
        self.init(
            try fields.word("cause"),
            from: try fields.optionalString("from").map { text throws(EventParseError) in
                guard let time = RFC3339.nanoseconds(text) else { throw .field("from", expected: "RFC 3339 in UTC") }
                return time
            },
            count: try fields.optionalNumber("count"), through: try fields.optionalNumber("through"),
            hash: try fields.optionalHash("through_hash"), file: try fields.optionalString("file"),
            bytes: try fields.optionalNumber("bytes"), error: try fields.optionalString("error")
        )
    }
}

// MARK: Text

extension AuditRecord {
    /// `create by uid 0 pid 4711: web-agent generation 1, curl https://example.com`
    func text() -> String {
        var text = action.rawValue
        if let by { text += " by uid \(by.uid) pid \(by.pid)" }
        var details: [String] = []
        if let target { details.append(TerminalText.neutralised(target)) }
        if let policy {
            details.append("policy \(TerminalText.neutralised(policy.name)) generation \(policy.generation)")
        }
        if let signal { details.append("signal \(signal)") }
        if let command { details.append(command.map(TerminalText.quoted).joined(separator: " ")) }
        if let secrets { details.append("secrets " + secrets.map(TerminalText.quoted).joined(separator: " ")) }
        if case .refused(let code, let message) = outcome {
            details.append("refused, \(TerminalText.neutralised(code)): \(TerminalText.neutralised(message))")
        }
        return details.isEmpty ? text : text + ": " + details.joined(separator: ", ")
    }
}

extension Gap: CustomStringConvertible {
    /// `the journal could not be written: since …, 12 events are lost, …`
    public var description: String {
        let what =
            switch cause {
            case .tornLine: "the last line of the journal was torn"
            case .uncleanStop: "the last corrald did not stop in good order"
            case .writeFailed: "the journal could not be written"
            case .syncFailed: "the journal may not have reached the disk"
            case .fileRemoved: "a file of the journal was removed while it was written"
            case .unreadable: "the end of the journal could not be read"
            case .retention: "the oldest files of the journal were removed, as the settings say"
            case .disconnected: "there was no connection to corrald"
            }
        var details: [String] = []
        if let from { details.append("since \(RFC3339.text(from))") }
        if let count { details.append("\(count) \(count == 1 ? "event is" : "events are") lost") }
        if let through { details.append("through record \(through)") }
        if let bytes { details.append("\(bytes) bytes") }
        if let file { details.append(TerminalText.neutralised(file)) }
        if let error { details.append(TerminalText.neutralised(error)) }
        return details.isEmpty ? what : what + ": " + details.joined(separator: ", ")
    }
}
