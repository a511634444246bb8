internal import CorralEvents
internal import FoundationEssentials

/// Bytes that are no frames an attached client may be sent.
struct StreamFrameError: Error, Equatable {
    var what: String

    init(_ what: String) {
        self.what = what
    }
}

/// What a command says, out of the frames of an attach response however they are cut.
struct StreamFrameReader {
    enum Element: Equatable {
        /// Not empty; a frame may come in several.
        case output(isError: Bool, [UInt8])
        case exit(CommandExit)
        /// So many bytes of a log are held no more.
        case skipped(UInt64)
    }

    private enum State {
        case header
        case output(isError: Bool, remaining: Int)
        case exit(length: Int)
        case refusals(length: Int)
        case skipped
    }

    private static let longestExit = 64
    private var refusals: [RefusalSummary] = []

    private var state = State.header
    private var buffer: [UInt8] = []
    private var start = 0

    mutating func append(_ bytes: [UInt8]) {
        if start == buffer.count {
            buffer = bytes
        } else {
            buffer.removeSubrange(..<start)
            buffer += bytes
        }
        start = 0
    }

    /// Nil when more bytes are needed.
    mutating func next() throws(StreamFrameError) -> Element? {
        while true {
            switch state {
            case .header:
                guard let bytes = take(exactly: StreamFrameHeader.size) else { return nil }
                guard let header = StreamFrameHeader(bytes: bytes) else { throw StreamFrameError("no frame") }
                switch header.kind {
                case .stdout, .stderr: state = .output(isError: header.kind == .stderr, remaining: header.length)
                case .exit:
                    guard (4...Self.longestExit).contains(header.length) else {
                        throw StreamFrameError("an exit frame of \(header.length) bytes")
                    }
                    state = .exit(length: header.length)
                case .refusals: state = .refusals(length: header.length)
                case .skipped where header.length == 8: state = .skipped
                case .skipped: throw StreamFrameError("a frame of the wrong length")
                case .stdin, .stdinEnd, .signal, .resize, .detach:
                    throw StreamFrameError("a frame that only a client sends")
                }
            case .output(_, remaining: 0):
                state = .header
            case .output(let isError, let remaining):
                guard start < buffer.count else { return nil }
                let piece = Array(buffer[start..<min(buffer.count, start + remaining)])
                start += piece.count
                state = .output(isError: isError, remaining: remaining - piece.count)
                return .output(isError: isError, piece)
            case .exit(let length):
                guard let payload = take(exactly: length) else { return nil }
                state = .header
                let code = payload.prefix(4).reduce(0 as UInt32) { $0 << 8 | UInt32($1) }
                let word = String(decoding: payload.dropFirst(4), as: UTF8.self)
                guard let cause = CommandExit.Cause(rawValue: word) else {
                    throw StreamFrameError("an exit of no known cause")
                }
                return .exit(CommandExit(code: Int32(bitPattern: code), cause: cause, refusals: refusals))
            case .skipped:
                guard let payload = take(exactly: 8) else { return nil }
                state = .header
                return .skipped(payload.reduce(0) { $0 << 8 | UInt64($1) })
            case .refusals(let length):
                guard let payload = take(exactly: length) else { return nil }
                state = .header
                guard let read = try? JSONDecoder().decode([RefusalSummary].self, from: Data(payload)) else {
                    throw StreamFrameError("refusals that cannot be read")
                }
                refusals = read
            }
        }
    }

    private mutating func take(exactly count: Int) -> ArraySlice<UInt8>? {
        guard buffer.count - start >= count else { return nil }
        defer { start += count }
        return buffer[start..<start + count]
    }
}
