public import CorralEvents
internal import Glibc

/// Part of what `GET /v1/events` or a trace answers.
public enum EventPiece: Sendable, Equatable {
    /// Whole JSON lines with their line breaks.
    case lines([UInt8])
    /// Of which sandbox the records of a slot are from here on.
    case source(TraceSource)
    /// Records of calls, for `TraceRecords`.
    case records([UInt8])
}

/// The answer of `GET /v1/events` or of a trace, as it comes: in frames, or as JSON lines where corrald knows no frames.
public final class EventPieces {
    /// A line longer than this is an error.
    static let longestLine = 1 << 20

    private let connection: ClientConnection
    private let isFramed: Bool
    private var parser = EventFrameParser()
    private var partial: [UInt8] = []

    init(_ connection: ClientConnection, _ head: HTTPResponseHead) {
        self.connection = connection
        isFramed = head.fields.contains { $0.name == "content-type" && $0.value == EventFrame.contentType }
    }

    /// Where the caller writes what it gets; `next` then throws `outputClosed` as soon as nobody reads it.
    public var output: Int32? {
        get { connection.output }
        set { connection.output = newValue }
    }

    /// Waits for the next piece; nil when corrald ends the stream.
    /// - Parameter interruption: a descriptor; once it can be read, the result is no lines.
    public func next(orReadable interruption: Int32? = nil) throws(ClientError) -> EventPiece? {
        while true {
            if isFramed, let piece = try nextFrame() { return piece }
            guard let bytes = try connection.readPiece(waiting: interruption == nil) else { break }
            if bytes.isEmpty, let interruption {
                var polled = [
                    pollfd(fd: connection.socket.descriptor, events: Int16(POLLIN), revents: 0),
                    pollfd(fd: interruption, events: Int16(POLLIN), revents: 0),
                ]
                if poll(&polled, nfds_t(polled.count), -1) > 0, polled[1].revents != 0 { return .lines([]) }
                continue
            }
            if isFramed {
                parser.append(bytes)
            } else if let lines = try lines(bytes) {
                return .lines(lines)
            }
        }
        guard partial.isEmpty, parser.isEmpty else { throw .closed(during: "an event") }
        return nil
    }

    private func nextFrame() throws(ClientError) -> EventPiece? {
        do throws(EventParseError) {
            guard let (kind, payload) = try parser.next() else { return nil }
            switch kind {
            case .lines: return .lines(payload)
            case .source: return .source(try TraceSource(json: payload))
            case .records: return .records(payload)
            }
        } catch {
            throw .badResponse(error.description)
        }
    }

    /// Nil before the end of a line.
    private func lines(_ bytes: [UInt8]) throws(ClientError) -> [UInt8]? {
        guard let last = bytes.lastIndex(of: UInt8(ascii: "\n")) else {
            guard partial.count + bytes.count <= Self.longestLine else {
                throw .badResponse("an event of more than \(Self.longestLine) bytes")
            }
            partial += bytes
            return nil
        }
        let lines = partial + bytes[...last]
        partial = Array(bytes[(last + 1)...])
        return lines
    }
}
