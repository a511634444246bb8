/// The frames of `POST /v1/sandboxes/{id}/attach`, both ways: kind (1 byte), three zero bytes, payload length (4 bytes,
/// big endian), payload. The request body carries `stdin`, then `stdinEnd`, and `signal`, `resize` and `detach` at any time; the
/// response carries `stdout` and `stderr` and ends with one `exit`, which `refusals` may precede. `GET …/logs` sends `stdout`,
/// `stderr` and `skipped` alone.
public enum StreamFrameKind: UInt8, Sendable, CaseIterable {
    case stdin = 0
    case stdout = 1
    case stderr = 2
    /// Payload: the exit code as 4 bytes, big endian, two's complement; then the reason as text: `exited`, `signalled`,
    /// `timeout`, `removed`.
    case exit = 3
    /// Payload empty.
    case stdinEnd = 4
    /// Payload: 1 byte, the signal's number.
    case signal = 5
    /// Payload: a JSON array of `RefusalSummary`. At most once, before `exit`; not sent where nothing was refused.
    case refusals = 6
    /// Payload: rows and columns of the client's terminal, 2 bytes each, big endian.
    case resize = 7
    /// Payload empty. The client leaves, and the command is to run on whatever was agreed on before.
    case detach = 8
    /// Payload: how many bytes were written here and are held no more, 8 bytes, big endian.
    case skipped = 9
}

public struct StreamFrameHeader: Sendable, Equatable {
    public static let size = 8
    /// Largest payload either side sends; a receiver refuses more.
    public static let maximumPayload = 1 << 20

    public var kind: StreamFrameKind
    public var length: Int

    public init(kind: StreamFrameKind, length: Int) {
        precondition((0...Self.maximumPayload).contains(length))
        self.kind = kind
        self.length = length
    }

    /// Nil when the bytes are no header: wrong count, unknown kind, non-zero padding, oversized payload.
    public init?(bytes: some Collection<UInt8>) {
        let bytes = Array(bytes)
        guard bytes.count == Self.size, let kind = StreamFrameKind(rawValue: bytes[0]),
            bytes[1] == 0, bytes[2] == 0, bytes[3] == 0
        else { return nil }
        let length = bytes[4...].reduce(0) { $0 << 8 | Int($1) }
        guard length <= Self.maximumPayload else { return nil }
        self.init(kind: kind, length: length)
    }

    public var bytes: [UInt8] {
        [kind.rawValue, 0, 0, 0] + (0..<4).map { UInt8(truncatingIfNeeded: length >> ((3 - $0) * 8)) }
    }
}
