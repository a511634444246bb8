internal import CorralAPI
internal import NIOCore

/// What a client may send on an attached stream.
enum AttachInput: Sendable, Equatable {
    /// A piece of standard input; a frame may come in several.
    case stdin(ByteBuffer)
    case stdinEnd
    case signal(Int32)
    case resize(rows: UInt16, columns: UInt16)
    case detach
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
        /// Up to 3 bytes of it.
        case resize([UInt8])
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
                } else if let input = try begin(partial) {
                    inputs.append(input)
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
            case .resize(var partial):
                partial += bytes.readBytes(length: min(4 - partial.count, bytes.readableBytes)) ?? []
                guard partial.count == 4 else {
                    state = .resize(partial)
                    continue
                }
                let numbers = partial.map(UInt16.init)
                inputs.append(
                    .resize(rows: numbers[0] << 8 | numbers[1], columns: numbers[2] << 8 | numbers[3]))
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

    /// Takes a whole header; the input that it is already, if it is one without a payload.
    private mutating func begin(_ bytes: [UInt8]) throws(FrameError) -> AttachInput? {
        guard let header = StreamFrameHeader(bytes: bytes) else { throw FrameError("bytes that are no frame header") }
        state = .header([])
        switch (header.kind, header.length) {
        case (.stdin, let length):
            guard !hasEnded else { throw FrameError("stdin after its end") }
            if length > 0 { state = .stdin(remaining: length) }
            return nil
        case (.stdinEnd, 0):
            defer { hasEnded = true }
            return hasEnded ? nil : .stdinEnd
        case (.signal, 1):
            state = .signal
            return nil
        case (.resize, 4):
            state = .resize([])
            return nil
        case (.detach, 0):
            return .detach
        case (.stdinEnd, _), (.signal, _), (.resize, _), (.detach, _):
            throw FrameError("a frame of the wrong length")
        case (.stdout, _), (.stderr, _), (.exit, _), (.refusals, _), (.skipped, _):
            throw FrameError("a frame that only the server sends")
        }
    }
}
