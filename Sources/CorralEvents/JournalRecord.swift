/// One line of an audit journal: an event's JSON with three more keys at its end, by which each line is chained to the one
/// before it. docs/AUDIT.md gives the bytes.
public struct JournalRecord: Sendable, Equatable {
    /// Counts the records of a journal from 1, over all its files.
    public var number: UInt64
    /// The hash that the record before states; zero for the first.
    public var previous: SHA256
    /// The hash that this record states of itself.
    public var hash: SHA256
    /// The line up to `,"hash":`, which is what the hash is taken of.
    private let hashed: ArraySlice<UInt8>
    /// Bytes of `hashed` that are the event's own, without its closing brace.
    private let eventBytes: Int

    private static let numberKey = Array(",\"record\":".utf8)
    private static let previousKey = Array(",\"prev\":\"".utf8)
    private static let hashKey = Array("\",\"hash\":\"".utf8)
    private static let end = Array("\"}".utf8)

    /// Nil when `line`, which is without its line break, does not end as a record does.
    public init?(line: ArraySlice<UInt8>) {
        var rest = line
        guard Self.drop(Self.end, from: &rest), let hash = Self.dropHash(from: &rest),
            Self.drop(Self.hashKey, from: &rest), let previous = Self.dropHash(from: &rest),
            Self.drop(Self.previousKey, from: &rest)
        else { return nil }
        let digits = rest.reversed().prefix { (0x30...0x39).contains($0) }.count
        guard (1...20).contains(digits), let number = UInt64(String(decoding: rest.suffix(digits), as: UTF8.self))
        else {
            return nil
        }
        rest = rest.dropLast(digits)
        guard Self.drop(Self.numberKey, from: &rest), rest.first == UInt8(ascii: "{") else { return nil }
        self.number = number
        self.previous = previous
        self.hash = hash
        hashed = line.dropLast(Self.hashKey.count - 1 + SHA256.digits + Self.end.count)
        eventBytes = rest.count
    }

    private static func drop(_ text: [UInt8], from rest: inout ArraySlice<UInt8>) -> Bool {
        guard rest.count >= text.count, rest.suffix(text.count).elementsEqual(text) else { return false }
        rest = rest.dropLast(text.count)
        return true
    }

    private static func dropHash(from rest: inout ArraySlice<UInt8>) -> SHA256? {
        guard let hash = SHA256(hexadecimal: rest.suffix(SHA256.digits)) else { return nil }
        rest = rest.dropLast(SHA256.digits)
        return hash
    }

    /// The hash of its bytes as they are; that of an altered line is not `hash`.
    public var actualHash: SHA256 { SHA256(of: hashed) }

    /// Appends the event as `Event.jsonLine` has it, with its line break.
    public func appendEventLine(to bytes: inout [UInt8]) {
        bytes += hashed.prefix(eventBytes)
        bytes.append(UInt8(ascii: "}"))
        bytes.append(UInt8(ascii: "\n"))
    }

    /// The event as `Event.jsonLine` has it, with its line break.
    public var eventLine: [UInt8] {
        var bytes: [UInt8] = []
        appendEventLine(to: &bytes)
        return bytes
    }

    /// Appends `event` as the record that follows `chain`, with its line break.
    static func append(_ event: Event, to bytes: inout [UInt8], following chain: inout JournalChain) {
        let start = bytes.count
        event.appendJSONLine(to: &bytes)
        bytes.removeLast(2)
        chain.number &+= 1
        bytes += numberKey
        bytes += String(chain.number).utf8
        bytes += previousKey
        chain.hash.append(to: &bytes)
        bytes.append(UInt8(ascii: "\""))
        chain.hash = SHA256(of: bytes[start...])
        bytes += hashKey.dropFirst()
        chain.hash.append(to: &bytes)
        bytes += end
        bytes.append(UInt8(ascii: "\n"))
    }
}

/// Where a journal stands: its last record.
public struct JournalChain: Sendable, Equatable {
    public var number: UInt64
    public var hash: SHA256

    /// Before the first record.
    public init() {
        self.init(number: 0, hash: .zero)
    }

    public init(number: UInt64, hash: SHA256) {
        self.number = number
        self.hash = hash
    }

    /// Appends `event` as the next record, with its line break.
    public mutating func append(_ event: Event, to bytes: inout [UInt8]) {
        JournalRecord.append(event, to: &bytes, following: &self)
    }
}

extension Event {
    /// Bytes of a line before its time begins, and of the time.
    private static let timeStart = 9
    private static let timeLength = 30

    /// The time of a line that `jsonLine` or a journal holds, without reading the rest of it; nil when it has none where it
    /// belongs.
    public static func time(ofLine line: ArraySlice<UInt8>) -> Int64? {
        guard line.count > timeStart + timeLength, line.starts(with: "{\"time\":\"".utf8) else { return nil }
        let start = line.startIndex + timeStart
        return RFC3339.nanoseconds(String(decoding: line[start..<start + timeLength], as: UTF8.self))
    }
}
