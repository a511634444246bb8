internal import CorralEvents
internal import Glibc

/// What a client wants of the output that corrald holds.
public struct LogSelection: Sendable, Equatable {
    /// Nanoseconds since 1970, UTC.
    public var since: Int64?
    /// The last lines alone.
    public var lines: Int?
    /// Go on until the command ends.
    public var follows: Bool

    public init(since: Int64? = nil, lines: Int? = nil, follows: Bool = false) {
        self.since = since
        self.lines = lines
        self.follows = follows
    }
}

extension Client {
    public enum LogPiece: Sendable, Equatable {
        case stdout([UInt8])
        case stderr([UInt8])
        /// So many bytes that were written here are held no more.
        case skipped(UInt64)
    }

    /// Hands every piece to `body`, oldest first. Throws `outputClosed` once nobody reads `output`.
    public func logs(
        of reference: String, _ selection: LogSelection, output: Int32, _ body: (LogPiece) throws -> Void
    ) throws {
        var query: [String] = []
        if selection.follows { query.append("follow=true") }
        if let lines = selection.lines { query.append("tail=\(lines)") }
        if let since = selection.since { query.append("since=" + Self.percentEncoded(RFC3339.text(since))) }
        let connection = try ClientConnection(path: path)
        try connection.send(
            "GET", Self.path(of: reference) + "/logs" + (query.isEmpty ? "" : "?" + query.joined(separator: "&")))
        try Self.expectSuccess(connection)
        connection.output = output
        var frames = StreamFrameReader()
        while let piece = try connection.readPiece(waiting: true) {
            frames.append(piece)
            do {
                while let element = try frames.next() {
                    switch element {
                    case .output(let isError, let bytes): try body(isError ? .stderr(bytes) : .stdout(bytes))
                    case .skipped(let count): try body(.skipped(count))
                    case .exit: throw StreamFrameError("an exit within a log")
                    }
                }
            } catch let error as StreamFrameError {
                throw ClientError.badResponse("in a log: \(error.what)")
            }
        }
    }
}
