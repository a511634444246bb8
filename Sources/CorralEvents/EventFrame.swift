/// The answer of `/v1/events` and of a trace to a client that renders system calls itself: frames of eight bytes of head and a
/// payload. Integers are little-endian.
///
/// | bytes | |
/// |---|---|
/// | 4 | length of the payload |
/// | 1 | `Kind` |
/// | 3 | zero |
public enum EventFrame {
    /// Content type of the answer, and what a client puts into Accept.
    public static let contentType = "application/vnd.corral.events"
    public static let headBytes = 8
    /// A frame with a longer payload is an error.
    public static let longestPayload = 8 << 20

    public enum Kind: UInt8, Sendable {
        /// Whole JSON lines.
        case lines = 1
        /// Of which sandbox the records of a slot are from here on: `TraceSource`.
        case source = 2
        /// Records of bpf/abi/corral_trace_abi.h, one behind the other, of calls alone.
        case records = 3
    }

    public static func head(_ kind: Kind, length: Int) -> [UInt8] {
        let word = UInt32(truncatingIfNeeded: length)
        return (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) } + [kind.rawValue, 0, 0, 0]
    }
}

/// What the records of one sandbox do not say themselves.
public struct TraceSource: Sendable, Equatable {
    public var slot: UInt32
    public var epoch: UInt64
    /// Without a policy.
    public var context: DecisionContext

    public init(slot: UInt32, epoch: UInt64, context: DecisionContext) {
        self.slot = slot
        self.epoch = epoch
        self.context = DecisionContext(
            sandbox: context.sandbox, bootTime: context.bootTime, uidBase: context.uidBase, uidCount: context.uidCount)
    }

    public var json: [UInt8] {
        var json = JSONWriter()
        json.beginObject()
        json.key("slot")
        json.number(slot)
        json.key("epoch")
        json.number(epoch)
        json.key("id")
        json.string(context.sandbox.id)
        json.key("name")
        json.string(context.sandbox.name)
        json.key("boot_ns")
        json.number(context.bootTime)
        json.key("uid_base")
        json.number(context.uidBase)
        json.key("uid_count")
        json.number(context.uidCount)
        json.endObject()
        return json.bytes
    }

    public init(json: [UInt8]) throws(EventParseError) {
        let fields = try Fields(json: json, path: "source.")
        self.init(
            slot: try fields.number("slot"), epoch: try fields.number("epoch"),
            context: DecisionContext(
                sandbox: SandboxReference(id: try fields.string("id"), name: try fields.string("name")),
                bootTime: try fields.number("boot_ns"), uidBase: try fields.number("uid_base"),
                uidCount: try fields.number("uid_count")))
    }
}

/// Frames out of the bytes of an answer, however these are cut.
public struct EventFrameParser: Sendable {
    private var buffer: [UInt8] = []
    private var start = 0

    public init() {}

    public var isEmpty: Bool { start == buffer.count }

    public mutating func append(_ bytes: [UInt8]) {
        if start == buffer.count {
            buffer = bytes
            start = 0
            return
        }
        if start > 256 << 10 {
            buffer.removeSubrange(..<start)
            start = 0
        }
        buffer += bytes
    }

    /// Nil when more bytes are needed.
    public mutating func next() throws(EventParseError) -> (kind: EventFrame.Kind, payload: [UInt8])? {
        guard buffer.count - start >= EventFrame.headBytes else { return nil }
        var length = 0
        for index in 0..<4 { length |= Int(buffer[start + index]) << (index * 8) }
        guard let kind = EventFrame.Kind(rawValue: buffer[start + 4]), length <= EventFrame.longestPayload else {
            throw .field("frame", expected: "lines, a source or records of at most \(EventFrame.longestPayload) bytes")
        }
        let end = start + EventFrame.headBytes + length
        guard end <= buffer.count else { return nil }
        let payload = Array(buffer[(start + EventFrame.headBytes)..<end])
        start = end
        return (kind, payload)
    }
}
