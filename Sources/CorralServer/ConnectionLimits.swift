/// How much of the daemon its clients may hold. Times are of a connection that makes no progress.
public struct ConnectionLimits: Sendable, Equatable {
    /// Connections in all. Beyond, new ones are answered 503.
    public var connections: Int
    /// Connections of one client: a user of the host, or an IP address (an IPv6 /64). Beyond, 429.
    public var connectionsPerClient: Int
    /// Answers of one client that last as long as it reads: attached commands, events, traces. Beyond, 429.
    public var streamsPerClient: Int
    /// Bytes of a request's line and fields. Beyond, 431.
    public var headerSize: Int
    /// Bytes of a body that is read whole; some routes take less. Beyond, 413.
    public var bodySize: Int
    /// For a request's line and fields, from the connection or their first byte on. Then 408.
    public var headerTimeout: Duration
    /// Between two requests, and between two pieces of a body. Then the connection is closed, or answered 408.
    public var idleTimeout: Duration

    public init(
        connections: Int = 1024, connectionsPerClient: Int = 512, streamsPerClient: Int = 256,
        headerSize: Int = 32 << 10, bodySize: Int = 16 << 20, headerTimeout: Duration = .seconds(10),
        idleTimeout: Duration = .seconds(60)
    ) {
        self.connections = connections
        self.connectionsPerClient = connectionsPerClient
        self.streamsPerClient = streamsPerClient
        self.headerSize = headerSize
        self.bodySize = bodySize
        self.headerTimeout = headerTimeout
        self.idleTimeout = idleTimeout
    }

    /// Connections that are being turned away and not yet closed; beyond, they wait in the kernel's queue.
    static let margin = 128
}
