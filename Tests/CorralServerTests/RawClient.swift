import CorralServer
import Dispatch
import Glibc
import Synchronization
import Testing

@testable import CorralServer

/// What happened, in order; may be waited for.
final class EventLog: Sendable {
    private let entries = Mutex<[String]>([])

    func add(_ entry: String) { entries.withLock { $0.append(entry) } }
    func contains(_ entry: String) -> Bool { entries.withLock { $0.contains(entry) } }
    var all: [String] { entries.withLock { $0 } }
}

/// Polls until `condition` holds; false after five seconds.
func eventually(_ condition: () async throws -> Bool) async rethrows -> Bool {
    for _ in 0..<1000 {
        if try await condition() { return true }
        try? await Task.sleep(for: .milliseconds(5))
    }
    return false
}

/// A client that sends exactly the bytes it is given. Blocking calls run on queues of its own.
actor RawClient {
    private nonisolated let descriptor: Int32
    private nonisolated let isClosed = Mutex(false)
    private let input = DispatchQueue(label: "raw client in")
    private let output = DispatchQueue(label: "raw client out")
    private var buffer: [UInt8] = []

    init(_ path: String) throws {
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let address = try #require(UnixAddress(path))
        try #require(address.withSockaddr { connect(descriptor, $0, $1) } == 0)
        setTimeouts()
    }

    /// To 127.0.0.1.
    init(port: Int) throws {
        descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        // struct sockaddr_in: family in host byte order, port and address in network byte order.
        let bytes =
            withUnsafeBytes(of: sa_family_t(AF_INET)) { Array($0) } + [
                UInt8(port >> 8), UInt8(port & 0xff), 127, 0, 0, 1,
            ]
            + [UInt8](repeating: 0, count: 8)
        let result = bytes.withUnsafeBytes {
            connect(descriptor, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
        try #require(result == 0)
        setTimeouts()
    }

    private nonisolated func setTimeouts() {
        var timeout = timeval(tv_sec: 60, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &timeout, socklen_t(MemoryLayout<timeval>.size))
    }

    deinit { close() }

    nonisolated func close() {
        let first = isClosed.withLock { closed in
            defer { closed = true }
            return !closed
        }
        if first { _ = Glibc.close(descriptor) }
    }

    /// Sends no more, and can still receive.
    nonisolated func closeOutput() { _ = shutdown(descriptor, Int32(SHUT_WR)) }

    func send(_ text: String) async { await send(Array(text.utf8)) }

    func send(_ bytes: [UInt8]) async {
        await withCheckedContinuation { continuation in
            output.async { [descriptor] in
                var rest = bytes[...]
                while !rest.isEmpty {
                    let count = rest.withUnsafeBytes {
                        Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
                    }
                    if count <= 0 { break }
                    rest = rest.dropFirst(count)
                }
                continuation.resume()
            }
        }
    }

    /// False at the end of the stream, on an error or after a minute without a byte.
    private func fill() async -> Bool {
        let bytes: [UInt8] = await withCheckedContinuation { continuation in
            input.async { [descriptor] in
                var bytes = [UInt8](repeating: 0, count: 65_536)
                let count = recv(descriptor, &bytes, bytes.count, 0)
                continuation.resume(returning: Array(bytes.prefix(max(0, count))))
            }
        }
        buffer += bytes
        return !bytes.isEmpty
    }

    /// `count` bytes, or fewer at the end of the stream.
    func read(_ count: Int) async -> [UInt8] {
        while buffer.count < count, await fill() {}
        defer { buffer.removeFirst(min(count, buffer.count)) }
        return Array(buffer.prefix(count))
    }

    /// A line without its CRLF; nil at the end of the stream.
    func readLine() async -> String? {
        while true {
            if let end = buffer.firstIndex(of: 10) {
                let line = String(decoding: buffer[..<end].filter { $0 != 13 }, as: UTF8.self)
                buffer.removeFirst(end + 1)
                return line
            }
            guard await fill() else { return nil }
        }
    }

    /// True when the server closed the connection and nothing more came.
    func isAtEnd() async -> Bool {
        guard buffer.isEmpty else { return false }
        return await !fill()
    }

    struct Head {
        var status: Int
        /// Names in lower case.
        var fields: [String: String]
    }

    func readHead() async -> Head {
        let status = await readLine()?.split(separator: " ").dropFirst().first.flatMap { Int($0) } ?? 0
        var fields: [String: String] = [:]
        while let line = await readLine(), !line.isEmpty {
            let parts = line.split(separator: ":", maxSplits: 1)
            if parts.count == 2 { fields[parts[0].lowercased()] = String(parts[1].drop { $0 == " " }) }
        }
        return Head(status: status, fields: fields)
    }

    /// The next chunk of a chunked body; empty at its proper end, nil when it breaks off.
    func readChunk() async -> [UInt8]? {
        guard let line = await readLine(), let count = Int(line, radix: 16) else { return nil }
        let bytes = await read(count)
        guard bytes.count == count, await readLine() == "" else { return nil }
        return bytes
    }

    func sendChunk(_ bytes: [UInt8]) async {
        await send(Array("\(String(bytes.count, radix: 16))\r\n".utf8) + bytes + Array("\r\n".utf8))
    }

    struct Response {
        var status: Int
        var fields: [String: String]
        var body: String
    }

    func request(
        _ method: String, _ target: String, body: String? = nil, fields: [String: String] = [:]
    ) async -> Response {
        var text = "\(method) \(target) HTTP/1.1\r\nHost: x\r\n"
        for (name, value) in fields { text += "\(name): \(value)\r\n" }
        if let body { text += "Content-Length: \(body.utf8.count)\r\n" }
        await send(text + "\r\n" + (body ?? ""))
        return await response()
    }

    func response() async -> Response {
        let head = await readHead()
        let body = await read(head.fields["content-length"].flatMap { Int($0) } ?? 0)
        return Response(status: head.status, fields: head.fields, body: String(decoding: body, as: UTF8.self))
    }
}
