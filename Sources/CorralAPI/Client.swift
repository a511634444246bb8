public import CorralEvents
internal import FoundationEssentials

/// Calls corrald over its unix socket, or over TCP with an API key. Synchronous: a command-line program starts faster without
/// an event loop. Use one from one thread at a time; it keeps a connection open between calls.
public final class Client {
    public static let defaultHost = "unix:///run/corral/corral.sock"
    /// Largest answer that is read whole.
    static let largestAnswer = 64 << 20

    private let endpoint: ClientEndpoint
    private let tls: TLSProgram?
    private var idle: ClientConnection?

    /// Where it leads, for people: the socket's path, or address and port.
    public var path: String { endpoint.description }

    /// `host` is `unix://` and an absolute path, `tcp://` and an address of this machine with a port, or `https://` and a name
    /// with a port; the last two need `apiKey`. `tls`: what speaks it, for `https://`. Does not connect yet.
    public init(
        host: String = defaultHost, apiKey: String? = nil, tls: TLSProgram? = nil
    ) throws(ClientError) {
        endpoint = try ClientEndpoint(host: host, apiKey: apiKey)
        self.tls = tls
    }

    /// Claims a sandbox and starts its command.
    public func createSandbox(_ request: CreateSandboxRequest) throws(ClientError) -> Sandbox {
        try call("POST", "/v1/sandboxes", body: .json(try encode(request)))
    }

    /// The same, for one who needs no more than its id: reading the rest takes as long as the start itself.
    public func createSandboxID(_ request: CreateSandboxRequest) throws(ClientError) -> String {
        let created: CreatedSandbox = try call("POST", "/v1/sandboxes", body: .json(try encode(request)))
        return created.id
    }

    private struct CreatedSandbox: Decodable {
        var id: String
    }

    /// All that were not removed, oldest first.
    public func sandboxes() throws(ClientError) -> [Sandbox] {
        try call("GET", "/v1/sandboxes")
    }

    /// What each uses and has done.
    public func stats() throws(ClientError) -> [SandboxStats] {
        try call("GET", "/v1/sandboxes/stats")
    }

    /// By id, unique beginning of an id, or name.
    public func sandbox(_ reference: String) throws(ClientError) -> Sandbox {
        try call("GET", Self.path(of: reference))
    }

    /// Destroys a sandbox; with `force`, one whose command still runs, too.
    public func removeSandbox(_ reference: String, force: Bool = false) throws(ClientError) {
        _ = try exchange("DELETE", Self.path(of: reference) + (force ? "?force=true" : ""))
    }

    /// Sends a signal to the command; see `KillRequest`.
    public func kill(_ reference: String, _ request: KillRequest = KillRequest()) throws(ClientError) {
        _ = try exchange("POST", Self.path(of: reference) + "/kill", body: .json(try encode(request)))
    }

    /// Opens a connection now, which the next call takes.
    public func connect() throws(ClientError) {
        if idle == nil { idle = try openConnection() }
    }

    /// Starts a further command in a running sandbox.
    public func exec(_ reference: String, _ request: ExecRequest) throws(ClientError) -> SandboxCommand {
        try call("POST", Self.path(of: reference) + "/exec", body: .json(try encode(request)))
    }

    /// The commands of a sandbox, oldest first.
    public func commands(of reference: String) throws(ClientError) -> [SandboxCommand] {
        try call("GET", Self.path(of: reference) + "/exec")
    }

    public func pause(_ reference: String) throws(ClientError) -> Sandbox {
        try call("POST", Self.path(of: reference) + "/pause")
    }

    public func resume(_ reference: String) throws(ClientError) -> Sandbox {
        try call("POST", Self.path(of: reference) + "/resume")
    }

    /// Returns when the command has ended.
    public func wait(_ reference: String, exec: String? = nil) throws(ClientError) -> WaitResult {
        let query = exec.map { "?exec=" + Self.percentEncoded($0) } ?? ""
        return try call("GET", Self.path(of: reference) + "/wait" + query)
    }

    /// Replaces the policy of a sandbox; returns once the new one decides.
    public func applyPolicy(_ source: PolicySource, to reference: String) throws(ClientError) -> Sandbox {
        try call("PUT", Self.path(of: reference) + "/policy", body: .json(try encode(source)))
    }

    /// Puts a policy on a cgroup that Corral did not make.
    public func enforce(_ request: EnforceRequest) throws(ClientError) -> EnforcedCgroup {
        try call("POST", "/v1/enforcements", body: .json(try encode(request)))
    }

    public func enforcements() throws(ClientError) -> [EnforcedCgroup] {
        try call("GET", "/v1/enforcements")
    }

    /// Takes the policy off. By id.
    public func releaseEnforcement(_ id: String) throws(ClientError) {
        _ = try exchange("DELETE", "/v1/enforcements/" + Self.percentEncoded(id))
    }

    public func pool() throws(ClientError) -> PoolStatus {
        try call("GET", "/v1/pool")
    }

    public func doctor() throws(ClientError) -> DoctorReport {
        try call("GET", "/v1/doctor")
    }

    public func version() throws(ClientError) -> VersionInfo {
        try call("GET", "/v1/version")
    }

    /// Throws unless corrald says that it is well.
    public func checkHealth() throws(ClientError) {
        _ = try exchange("GET", "/healthz")
    }

    public func journal() throws(ClientError) -> JournalStatus {
        try call("GET", "/v1/audit")
    }

    /// Which past events to begin with, and whether to go on with those to come.
    public struct EventSpan: Sendable, Equatable {
        /// Nanoseconds since 1970, UTC.
        public var since: Int64?
        /// No more than the newest of this number.
        public var last: Int?
        public var follow: Bool

        /// From now on, unless told otherwise.
        public init(since: Int64? = nil, last: Int? = nil, follow: Bool = true) {
            self.since = since
            self.last = last
            self.follow = follow
        }

        var query: [(String, String)] {
            (since.map { [("since", RFC3339.text($0))] } ?? []) + (last.map { [("last", String($0))] } ?? [])
                + (follow ? [] : [("follow", "false")])
        }
    }

    /// Events, oldest first. Takes a connection of its own.
    public func events(
        matching filter: EventFilter = EventFilter(), _ span: EventSpan = EventSpan()
    ) throws(ClientError) -> EventPieces {
        let query = (filter.query + span.query).map { "\($0.0)=\(Self.percentEncoded($0.1))" }.joined(separator: "&")
        let connection = try openConnection()
        try connection.send(
            "GET", "/v1/events" + (query.isEmpty ? "" : "?" + query), accept: EventFrame.contentType)
        return EventPieces(connection, try Self.expectSuccess(connection))
    }

    /// Traces a sandbox for as long as the lines are read. The last line, after the command's end, is a `SyscallCounts`.
    /// - Parameter syscalls: names, `@` and a group, or `counts`; empty for all.
    public func trace(_ reference: String, syscalls: [String]) throws(ClientError) -> EventPieces {
        let query = syscalls.map { "syscall=\(Self.percentEncoded($0))" }.joined(separator: "&")
        let connection = try openConnection()
        try connection.send(
            "GET", Self.path(of: reference) + "/trace" + (query.isEmpty ? "" : "?" + query),
            accept: EventFrame.contentType)
        return EventPieces(connection, try Self.expectSuccess(connection))
    }

    /// Calls since the trace of a sandbox was switched on.
    public func syscalls(of reference: String) throws(ClientError) -> SyscallCounts {
        try call("GET", Self.path(of: reference) + "/syscalls")
    }

    // MARK: Exchanges

    func call<Answer: Decodable>(
        _ method: String, _ target: String, body: ClientConnection.RequestBody = .none
    ) throws(ClientError) -> Answer {
        let bytes = try exchange(method, target, body: body)
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(bytes))
        } catch {
            throw .badResponse("\(method) \(target): \(error)")
        }
    }

    /// The body of a successful answer.
    func exchange(
        _ method: String, _ target: String, body: ClientConnection.RequestBody = .none
    ) throws(ClientError) -> [UInt8] {
        let connection = try connection()
        try connection.send(method, target, body: body)
        try Self.expectSuccess(connection) { idle = $0 }
        let bytes = try connection.readBody(limit: Self.largestAnswer)
        idle = connection
        return bytes
    }

    /// An open connection, taken out of `idle`.
    func connection() throws(ClientError) -> ClientConnection {
        if let connection = idle {
            idle = nil
            if connection.isIdle { return connection }
        }
        return try openConnection()
    }

    func openConnection() throws(ClientError) -> ClientConnection {
        try ClientConnection(endpoint, tls: tls)
    }

    /// Reads the head; for a refusal the whole answer, after which `giveBack` may keep the connection.
    @discardableResult
    static func expectSuccess(
        _ connection: ClientConnection, giveBack: (ClientConnection) -> Void = { _ in }
    ) throws(ClientError) -> HTTPResponseHead {
        let head = try connection.readHead()
        guard !(200..<300).contains(head.status) else { return head }
        let bytes = try connection.readBody(limit: largestAnswer)
        giveBack(connection)
        let body = try? JSONDecoder().decode(ErrorBody.self, from: Data(bytes))
        throw .refused(
            status: head.status, body ?? ErrorBody(code: "internal", message: "corrald answered HTTP \(head.status)"))
    }

    func encode(_ value: some Encodable) throws(ClientError) -> [UInt8] {
        do {
            return Array(try JSONEncoder().encode(value))
        } catch {
            throw .badResponse("the request cannot be written as JSON: \(error)")
        }
    }

    static func path(of reference: String) -> String {
        "/v1/sandboxes/" + percentEncoded(reference)
    }

    /// Everything but RFC 3986's unreserved characters is encoded; `.` and `..` too, which a path would swallow.
    static func percentEncoded(_ text: String) -> String {
        let isDots = text == "." || text == ".."
        return text.utf8.reduce(into: "") { result, byte in
            switch byte {
            case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
                UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "~"):
                result.unicodeScalars.append(Unicode.Scalar(byte))
            case UInt8(ascii: ".") where !isDots:
                result += "."
            default:
                let digits = String(byte, radix: 16, uppercase: true)
                result += "%" + (digits.count == 1 ? "0" : "") + digits
            }
        }
    }
}
