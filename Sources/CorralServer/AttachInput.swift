internal import CorralAPI
internal import NIOCore

/// What a client may send on an attached stream.
enum AttachInput: Sendable, Equatable {
    /// A piece of standard input; a frame may come in several.
    case stdin(ByteBuffer)
    case stdinEnd
    case signal(Int32)
}

/// Bytes from a client that are no frames.
struct FrameError: Error, Equatable, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}

/// Frames of a request body (CorralAPI, StreamFrameKind) from pieces cut anywhere. Holds at most one header.
struct AttachInputParser {
    private enum State {
        /// Up to 7 bytes of the next header.
        case header([UInt8])
        case stdin(remaining: Int)
        case signal
    }

    private var state = State.header([])
    private var hasEnded = false

    /// All that `bytes` complete, in order. After an error nothing more may be parsed.
    mutating func parse(_ bytes: ByteBuffer) throws(FrameError) -> [AttachInput] {
        var bytes = bytes
        var inputs: [AttachInput] = []
        while bytes.readableBytes > 0 {
            switch state {
            case .header(var partial):
                let wanted = min(StreamFrameHeader.size - partial.count, bytes.readableBytes)
                partial += bytes.readBytes(length: wanted) ?? []
                if partial.count < StreamFrameHeader.size {
                    state = .header(partial)
                } else if try begin(partial) {
                    inputs.append(.stdinEnd)
                }
            case .stdin(let remaining):
                let count = min(remaining, bytes.readableBytes)
                if let piece = bytes.readSlice(length: count) { inputs.append(.stdin(piece)) }
                state = remaining == count ? .header([]) : .stdin(remaining: remaining - count)
            case .signal:
                guard let number = bytes.readInteger(as: UInt8.self), (1...64).contains(number) else {
                    throw FrameError("a signal frame holds no signal's number")
                }
                inputs.append(.signal(Int32(number)))
                state = .header([])
            }
        }
        return inputs
    }

    /// The body has ended: throws when it ended inside a frame.
    func end() throws(FrameError) {
        guard case .header(let partial) = state, partial.isEmpty else {
            throw FrameError("the body ended inside a frame")
        }
    }

    /// Takes a whole header; true when it was an end of stdin.
    private mutating func begin(_ bytes: [UInt8]) throws(FrameError) -> Bool {
        guard let header = StreamFrameHeader(bytes: bytes) else { throw FrameError("bytes that are no frame header") }
        switch (header.kind, header.length) {
        case (.stdin, let length):
            guard !hasEnded else { throw FrameError("stdin after its end") }
            state = length == 0 ? .header([]) : .stdin(remaining: length)
            return false
        case (.stdinEnd, 0):
            state = .header([])
            defer { hasEnded = true }
            return !hasEnded
        case (.signal, 1):
            state = .signal
            return false
        case (.stdinEnd, _), (.signal, _):
            throw FrameError("a frame of the wrong length")
        case (.stdout, _), (.stderr, _), (.exit, _), (.refusals, _):
            throw FrameError("a frame that only the server sends")
        }
    }
}
