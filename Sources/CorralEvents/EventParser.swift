internal import CorralPolicy

/// A line that is no event.
public enum EventParseError: Error, Sendable, Equatable, CustomStringConvertible {
    /// Not JSON at all; `offset` counts bytes.
    case syntax(offset: Int, expected: String)
    /// A field is absent, or holds something else.
    case field(String, expected: String)

    public var description: String {
        switch self {
        case .syntax(let offset, let expected): "not JSON: at byte \(offset), expected \(expected)"
        case .field(let field, let expected): "\(field): expected \(expected)"
        }
    }
}

extension Event {
    /// From one line of `jsonLine`, with its line break or without. Keys that are not known are passed over.
    public init(json: [UInt8]) throws(EventParseError) {
        let fields = try Fields(json: json, path: "")
        guard let time = RFC3339.nanoseconds(try fields.string("time")) else {
            throw .field("time", expected: "RFC 3339 in UTC")
        }
        let type: EventType = try fields.word("type")
        let body: Body
        switch type {
        case .sandbox: body = .sandbox(try Lifecycle(fields))
        case .egress: body = .egress(try Traffic(fields, remoteKey: "dst"))
        case .ingress: body = .ingress(try Traffic(fields, remoteKey: "src"))
        case .dns: body = .dns(try NameQuery(fields))
        case .limit:
            body = .limit(
                LimitReached(
                    try fields.word("limit"), budget: try fields.optionalWord("budget"),
                    value: try fields.optionalNumber("value"), count: try fields.optionalNumber("count")))
        case .lost: body = .lost(Loss(count: try fields.number("count"), place: try fields.word("place")))
        case .audit: body = .audit(try AuditRecord(fields))
        case .gap: body = .gap(try Gap(fields))
        // Decisions have a verdict, what merely happened has none.
        case .process where try fields.optionalString("verdict") == nil: body = .process(try ProcessChange(fields))
        // Of paths it is said which rules refused them.
        case .process where try fields.optionalString("access") != nil,
            .file where try fields.optionalString("access") != nil:
            body = .path(try RefusedPath(fields, type: type))
        case .process, .file: body = .operation(try RefusedOperation(fields, type: type))
        case .syscall: body = .syscall(try Syscall(fields))
        case .policy: body = .policy(try PolicyChange(fields))
        }
        let sandbox = try fields.optionalObject("sandbox").map { inner throws(EventParseError) in
            SandboxReference(id: try inner.string("id"), name: try inner.string("name"))
        }
        self.init(time: time, seq: try fields.number("seq"), sandbox: sandbox, body: body)
    }
}

extension Lifecycle {
    fileprivate init(_ fields: Fields) throws(EventParseError) {
        switch try fields.string("action") {
        case "created": self = .created
        case "claimed": self = .claimed
        case "started": self = .started(command: try fields.strings("command"))
        case "paused": self = .paused
        case "resumed": self = .resumed
        case "exited": self = .exited(exitCode: try fields.number("exit_code"))
        case "destroyed": self = .destroyed
        default: throw .field("action", expected: "a step in the life of a sandbox")
        }
    }
}

extension Traffic {
    fileprivate init(_ fields: Fields, remoteKey: String) throws(EventParseError) {
        self.init(
            verdict: try fields.word("verdict"), reason: try fields.word("reason"),
            hook: try fields.optionalWord("hook"),
            process: try fields.optionalObject("process").map(ProcessReference.init),
            remote: try fields.optionalObject(remoteKey).map(Remote.init),
            localPort: try fields.optionalNumber("local_port"),
            proto: try fields.optionalString("protocol").map { text throws(EventParseError) in
                guard let proto = TrafficProtocol(text) else { throw .field("protocol", expected: "a protocol") }
                return proto
            },
            policy: try fields.optionalObject("policy").map(PolicyReference.init),
            hint: try fields.optionalString("hint")
        )
    }
}

extension NameQuery {
    fileprivate init(_ fields: Fields) throws(EventParseError) {
        let query = try fields.object("query")
        guard let recordType = DNSRecordType(try query.string("type")) else {
            throw .field("query.type", expected: "a record type such as AAAA or TYPE65280")
        }
        guard let responseCode = DNSResponseCode(try fields.string("rcode")) else {
            throw .field("rcode", expected: "a response code such as NXDOMAIN or RCODE9")
        }
        self.init(
            verdict: try fields.word("verdict"), reason: try fields.word("reason"), name: try query.string("name"),
            recordType: recordType, transport: try fields.word("protocol"), responseCode: responseCode,
            answers: try fields.addresses("answers"), removed: try fields.addresses("removed"),
            server: try fields.optionalString("server").map { text throws(EventParseError) in
                guard let server = IPAddress(text) else { throw .field("server", expected: Fields.address) }
                return server
            },
            policy: try fields.optionalObject("policy").map(PolicyReference.init),
            count: try fields.optionalNumber("count") ?? 1, hint: try fields.optionalString("hint")
        )
    }
}

extension ProcessReference {
    init(_ fields: Fields) throws(EventParseError) {
        self.init(
            pid: try fields.number("pid"), hostPid: try fields.number("host_pid"), ppid: try fields.number("ppid"),
            uid: try fields.number("uid"), comm: try fields.string("comm"), exe: try fields.optionalString("exe"),
            execID: try fields.string("exec_id")
        )
    }
}

extension Remote {
    fileprivate init(_ fields: Fields) throws(EventParseError) {
        guard let ip = IPAddress(try fields.string("ip")) else {
            throw .field("\(fields.path)ip", expected: Fields.address)
        }
        self.init(ip: ip, port: try fields.optionalNumber("port"), name: try fields.optionalString("name"))
    }
}

extension PolicyReference {
    init(_ fields: Fields) throws(EventParseError) {
        var rule: RuleReference?
        if let text = try fields.optionalString("rule") {
            rule = RuleReference(text)
            guard rule != nil else {
                throw .field("\(fields.path)rule", expected: "a rule such as egress.allow[0]")
            }
        }
        self.init(name: try fields.string("name"), generation: try fields.number("generation"), rule: rule)
    }
}

/// Members of one object, with the path to it for errors. A null counts as absent.
struct Fields {
    static let address = "an IPv4 or IPv6 address"

    private let value: JSONValue
    let path: String

    init(_ value: JSONValue, path: String) {
        self.value = value
        self.path = path
    }

    /// The members of a JSON object that is all of `json`.
    init(json: [UInt8], path: String) throws(EventParseError) {
        let value: JSONValue
        do throws(JSONError) {
            value = try JSONReader.value(of: json)
        } catch {
            throw .syntax(offset: error.offset, expected: error.expected)
        }
        guard case .object = value else { throw .syntax(offset: 0, expected: "an object") }
        self.init(value, path: path)
    }

    private func member(_ key: String) -> JSONValue? {
        guard let member = value[key], member != .null else { return nil }
        return member
    }

    private func require<Value>(
        _ key: String, _ value: Value?, _ expected: @autoclosure () -> String
    ) throws(EventParseError) -> Value {
        guard let value else { throw .field(path + key, expected: expected()) }
        return value
    }

    func optionalString(_ key: String) throws(EventParseError) -> String? {
        switch member(key) {
        case nil: return nil
        case .string(let text): return text
        default: throw .field(path + key, expected: "a string")
        }
    }

    func string(_ key: String) throws(EventParseError) -> String {
        try require(key, try optionalString(key), "a string")
    }

    func optionalStrings(_ key: String) throws(EventParseError) -> [String]? {
        member(key) == nil ? nil : try strings(key)
    }

    func optionalHash(_ key: String) throws(EventParseError) -> SHA256? {
        guard let text = try optionalString(key) else { return nil }
        return try require(key, SHA256(text), "64 hexadecimal digits in lower case")
    }

    /// False where it is absent.
    func bool(_ key: String) throws(EventParseError) -> Bool {
        switch member(key) {
        case nil: return false
        case .bool(let value): return value
        default: throw .field(path + key, expected: "true or false")
        }
    }

    func strings(_ key: String) throws(EventParseError) -> [String] {
        guard case .array(let elements) = member(key) else { throw .field(path + key, expected: "an array of strings") }
        var strings: [String] = []
        for element in elements {
            guard case .string(let text) = element else { throw .field(path + key, expected: "an array of strings") }
            strings.append(text)
        }
        return strings
    }

    func optionalNumber<Number: FixedWidthInteger>(_ key: String) throws(EventParseError) -> Number? {
        let number: Number?
        switch member(key) {
        case nil: return nil
        case .unsigned(let value): number = Number(exactly: value)
        case .negative(let value): number = Number(exactly: value)
        default: number = nil
        }
        return try require(key, number, "a whole number of \(Number.min) to \(Number.max)")
    }

    func number<Number: FixedWidthInteger>(_ key: String) throws(EventParseError) -> Number {
        let number: Number? = try optionalNumber(key)
        return try require(key, number, "a whole number")
    }

    func optionalWord<Word: RawRepresentable<String> & CaseIterable>(_ key: String) throws(EventParseError) -> Word? {
        guard let text = try optionalString(key) else { return nil }
        return try require(key, Word(rawValue: text), "one of \(Self.list(Word.self))")
    }

    func word<Word: RawRepresentable<String> & CaseIterable>(_ key: String) throws(EventParseError) -> Word {
        let word: Word? = try optionalWord(key)
        return try require(key, word, "one of \(Self.list(Word.self))")
    }

    private static func list<Word: RawRepresentable<String> & CaseIterable>(_ type: Word.Type) -> String {
        type.allCases.map(\.rawValue).joined(separator: ", ")
    }

    /// Empty where it is absent.
    func addresses(_ key: String) throws(EventParseError) -> [IPAddress] {
        guard member(key) != nil else { return [] }
        var addresses: [IPAddress] = []
        for text in try strings(key) {
            addresses.append(try require(key, IPAddress(text), Self.address))
        }
        return addresses
    }

    func object(_ key: String) throws(EventParseError) -> Fields {
        try require(key, try optionalObject(key), "an object")
    }

    func optionalObject(_ key: String) throws(EventParseError) -> Fields? {
        guard let member = member(key) else { return nil }
        guard case .object = member else { throw .field(path + key, expected: "an object") }
        return Fields(member, path: path + key + ".")
    }
}
