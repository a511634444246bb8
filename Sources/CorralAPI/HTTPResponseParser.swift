/// The head of an HTTP/1.1 response.
struct HTTPResponseHead: Equatable {
    var status: Int
    /// Names in lower case.
    var fields: [(name: String, value: String)]
    /// The connection can carry another request once this response has ended.
    var keepsAlive: Bool

    static func == (a: HTTPResponseHead, b: HTTPResponseHead) -> Bool {
        a.status == b.status && a.keepsAlive == b.keepsAlive && a.fields.elementsEqual(b.fields, by: ==)
    }
}

/// Bytes that are no HTTP/1.1 response.
struct HTTPError: Error, Equatable {
    var what: String

    init(_ what: String) {
        self.what = what
    }
}

/// Responses of one connection out of its bytes (RFC 9112), however these are cut. Strict: what is ambiguous is an error.
struct HTTPResponseParser {
    enum Part: Equatable {
        /// Interim responses (1xx) are passed over.
        case head(HTTPResponseHead)
        /// Not empty.
        case body([UInt8])
        /// The response is whole; what follows belongs to the next.
        case end
    }

    static let largestHead = 32 << 10
    static let mostFields = 100
    static let longestChunkLine = 1024

    private enum State {
        case head
        case body(remaining: UInt64)
        case chunkSize
        case chunk(remaining: UInt64)
        case chunkEnd
        case trailers(bytes: Int)
        case untilClose
        case end
        case closed
    }

    private var state = State.head
    private var buffer: [UInt8] = []
    private var start = 0
    /// Of `buffer`, counted from `start`: holds no line end.
    private var searched = 0

    /// Bytes that came after the last response's end, or belong to the next part.
    var hasBufferedBytes: Bool { start < buffer.count }

    mutating func append(_ bytes: some Collection<UInt8>) {
        if start == buffer.count {
            buffer.removeAll(keepingCapacity: true)
            start = 0
        } else if start > 64 << 10 {
            buffer.removeSubrange(..<start)
            start = 0
        }
        buffer.append(contentsOf: bytes)
    }

    /// The next part, or nil when more bytes are needed.
    mutating func next() throws(HTTPError) -> Part? {
        while true {
            switch state {
            case .head:
                guard let head = try nextHead() else { return nil }
                if (100..<200).contains(head.status) { continue }
                return .head(head)
            case .body(let remaining):
                guard remaining > 0 else {
                    state = .end
                    continue
                }
                guard let piece = take(atMost: remaining) else { return nil }
                state = .body(remaining: remaining - UInt64(piece.count))
                return .body(piece)
            case .chunkSize:
                guard let line = try nextLine(limit: Self.longestChunkLine, "a chunk's size") else { return nil }
                let size = try Self.chunkSize(line)
                state = size == 0 ? .trailers(bytes: 0) : .chunk(remaining: size)
            case .chunk(let remaining):
                guard let piece = take(atMost: remaining) else { return nil }
                state =
                    remaining == UInt64(piece.count) ? .chunkEnd : .chunk(remaining: remaining - UInt64(piece.count))
                return .body(piece)
            case .chunkEnd:
                guard let line = try nextLine(limit: 0, "a chunk's end") else { return nil }
                guard line.isEmpty else { throw HTTPError("a chunk is longer than its size") }
                state = .chunkSize
            case .trailers(let bytes):
                guard let line = try nextLine(limit: Self.largestHead, "trailers") else { return nil }
                guard bytes + line.count <= Self.largestHead else { throw HTTPError("trailers are too long") }
                state = line.isEmpty ? .end : .trailers(bytes: bytes + line.count + 2)
            case .untilClose:
                guard let piece = take(atMost: .max) else { return nil }
                return .body(piece)
            case .end:
                state = .head
                return .end
            case .closed:
                return nil
            }
        }
    }

    /// The connection has ended: `.end` if the response it carried is whole by that, nil if none had begun.
    mutating func close() throws(HTTPError) -> Part? {
        defer { state = .closed }
        switch state {
        case .untilClose: return .end
        case .head where !hasBufferedBytes: return nil
        default: throw HTTPError("ends in the middle of a response")
        }
    }

    // MARK: Head

    private mutating func nextHead() throws(HTTPError) -> HTTPResponseHead? {
        guard let end = headEnd() else {
            guard buffer.count - start <= Self.largestHead else { throw HTTPError("the head is too long") }
            return nil
        }
        guard end - start <= Self.largestHead else { throw HTTPError("the head is too long") }
        let text = buffer[start..<end]
        start = end
        searched = 0
        var lines = text.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)[...]
        // The text ends with an empty line and its line break: two empty pieces once carriage returns are gone.
        lines = lines.dropLast(2)
        guard let statusLine = lines.popFirst() else { throw HTTPError("no status line") }
        let (status, isVersion11) = try Self.status(try Self.withoutReturn(statusLine))
        guard lines.count <= Self.mostFields else { throw HTTPError("too many header fields") }
        var fields: [(name: String, value: String)] = []
        for line in lines { fields.append(try Self.field(try Self.withoutReturn(line))) }
        return try frame(status: status, isVersion11: isVersion11, fields: fields)
    }

    /// Index after `\r\n\r\n`.
    private mutating func headEnd() -> Int? {
        var index = max(start, start + searched - 3)
        while index + 4 <= buffer.count {
            if buffer[index] == 13, buffer[index + 1] == 10, buffer[index + 2] == 13, buffer[index + 3] == 10 {
                return index + 4
            }
            index += 1
        }
        searched = buffer.count - start
        return nil
    }

    private static func withoutReturn(_ line: ArraySlice<UInt8>) throws(HTTPError) -> ArraySlice<UInt8> {
        guard line.last == 13, !line.dropLast().contains(where: { $0 == 13 || $0 == 0 }) else {
            throw HTTPError("a line of the head does not end in CR LF")
        }
        return line.dropLast()
    }

    private static func status(_ line: ArraySlice<UInt8>) throws(HTTPError) -> (status: Int, isVersion11: Bool) {
        let text = String(decoding: line, as: UTF8.self)
        let parts = text.split(separator: " ", maxSplits: 2, omittingEmptySubsequences: false)
        guard parts.count >= 2, parts[0] == "HTTP/1.1" || parts[0] == "HTTP/1.0", parts[1].utf8.count == 3,
            parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let status = Int(parts[1]), status >= 100
        else { throw HTTPError("no HTTP status line") }
        return (status, parts[0] == "HTTP/1.1")
    }

    private static func field(_ line: ArraySlice<UInt8>) throws(HTTPError) -> (name: String, value: String) {
        guard let colon = line.firstIndex(of: UInt8(ascii: ":")), colon > line.startIndex else {
            throw HTTPError("a header field without a name")
        }
        let name = line[..<colon]
        guard name.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw HTTPError("a header field's name holds odd bytes")
        }
        // By hand: each lazy view is a generic type that the runtime makes first, in every program that sends one request.
        var value = line[(colon + 1)...]
        while let first = value.first, first == 0x20 || first == 0x09 { value = value.dropFirst() }
        while let last = value.last, last == 0x20 || last == 0x09 { value = value.dropLast() }
        return (String(decoding: name, as: UTF8.self).lowercased(), String(decoding: value, as: UTF8.self))
    }

    /// How the body is delimited (RFC 9112, section 6.3).
    private mutating func frame(
        status: Int, isVersion11: Bool, fields: [(name: String, value: String)]
    ) throws(HTTPError) -> HTTPResponseHead {
        func values(_ name: String) -> [String] { fields.filter { $0.name == name }.map(\.value) }
        var keepsAlive = isVersion11 && !values("connection").contains { $0.lowercased().contains("close") }
        let codings = values("transfer-encoding")
        let lengths = Set(values("content-length"))
        switch status {
        case 101: throw HTTPError("it switches protocols unasked")
        case 100..<200: state = .head
        case 204, 304: state = .end
        default:
            if !codings.isEmpty {
                guard codings.map({ $0.lowercased() }) == ["chunked"], lengths.isEmpty else {
                    throw HTTPError("its length is ambiguous")
                }
                state = .chunkSize
            } else if let length = lengths.first {
                guard lengths.count == 1, !length.isEmpty, length.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                    let count = UInt64(length)
                else { throw HTTPError("its length is ambiguous") }
                state = .body(remaining: count)
            } else {
                state = .untilClose
                keepsAlive = false
            }
        }
        return HTTPResponseHead(status: status, fields: fields, keepsAlive: keepsAlive)
    }

    // MARK: Body

    private mutating func take(atMost count: UInt64) -> [UInt8]? {
        let available = buffer.count - start
        guard available > 0 else { return nil }
        let taken = Int(min(UInt64(available), count))
        // The whole buffer is the usual case of a long stream: hand it over instead of copying it.
        if start == 0, taken == buffer.count {
            var whole: [UInt8] = []
            swap(&whole, &buffer)
            return whole
        }
        let piece = Array(buffer[start..<start + taken])
        start += taken
        return piece
    }

    /// A line without its CR LF.
    private mutating func nextLine(limit: Int, _ what: String) throws(HTTPError) -> [UInt8]? {
        guard let end = buffer[start...].prefix(limit + 2).firstIndex(of: 10) else {
            guard buffer.count - start < limit + 2 else { throw HTTPError("\(what) is too long") }
            return nil
        }
        guard end > start, buffer[end - 1] == 13 else { throw HTTPError("\(what) does not end in CR LF") }
        let line = Array(buffer[start..<end - 1])
        start = end + 1
        return line
    }

    private static func chunkSize(_ line: [UInt8]) throws(HTTPError) -> UInt64 {
        let digits = line.prefix { $0 != UInt8(ascii: ";") && $0 != 0x20 && $0 != 0x09 }
        guard (1...15).contains(digits.count) else { throw HTTPError("a chunk without a size") }
        var size: UInt64 = 0
        for byte in digits {
            guard byte < 0x80, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw HTTPError("a chunk without a size")
            }
            size = size << 4 | UInt64(digit)
        }
        return size
    }
}
