import Dispatch
import Glibc

/// A unix socket whose every connection is handed to a closure on a thread of its own.
final class FakeServer: Sendable {
    let path: String
    private let descriptor: Int32

    var host: String { "unix://\(path)" }

    init(_ serve: @escaping @Sendable (FakeConnection) -> Void) throws {
        var template = Array("/tmp/corral-api-XXXXXX".utf8CString)
        guard let directory = mkdtemp(&template) else { throw FakeServerError(errno: errno) }
        path = String(cString: directory) + "/s"
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        self.descriptor = descriptor
        let family = withUnsafeBytes(of: sa_family_t(AF_UNIX)) { Array($0) }
        let address = family + Array(path.utf8) + [0]
        let result = address.withUnsafeBytes {
            bind(descriptor, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t($0.count))
        }
        guard result == 0, listen(descriptor, 16) == 0 else { throw FakeServerError(errno: errno) }
        Thread.start {
            while true {
                let connection = accept(descriptor, nil, nil)
                guard connection >= 0 else { return }
                Thread.start { serve(FakeConnection(descriptor: connection)) }
            }
        }
    }

    /// Answers one request a connection with the same bytes, then closes.
    convenience init(answer: String) throws {
        try self.init { connection in
            _ = connection.readRequest()
            connection.write(answer)
        }
    }

    deinit {
        shutdown(descriptor, Int32(SHUT_RDWR))
        close(descriptor)
        unlink(path)
        rmdir(String(path.dropLast(2)))
    }
}

struct FakeServerError: Error {
    var errno: Int32
}

enum Thread {
    /// Not a pool's: the closures block.
    static func start(_ body: @escaping @Sendable () -> Void) {
        DispatchQueue(label: "test").async(execute: body)
    }
}

/// Closed when it is let go.
final class FakeConnection {
    let descriptor: Int32
    private var buffer: [UInt8] = []

    init(descriptor: Int32) {
        self.descriptor = descriptor
    }

    deinit {
        close(descriptor)
    }

    func write(_ text: String) {
        write(Array(text.utf8))
    }

    func write(_ bytes: [UInt8]) {
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            guard count > 0 else { return }
            rest = rest.dropFirst(count)
        }
    }

    /// False at the end of the stream.
    func fill() -> Bool {
        var chunk = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &chunk, chunk.count, 0)
        guard count > 0 else { return false }
        buffer += chunk[..<count]
        return true
    }

    /// `METHOD target` and the body, if it has a Content-Length; nil when the client is gone.
    func readRequest() -> (line: String, head: String, body: String)? {
        guard let head = readHead() else { return nil }
        var length = 0
        for line in head.split(separator: "\r\n") where line.lowercased().hasPrefix("content-length: ") {
            length = Int(line.dropFirst(16)) ?? 0
        }
        guard let body = read(length) else { return nil }
        let line = head.split(separator: " ").prefix(2).joined(separator: " ")
        return (line, head, String(decoding: body, as: UTF8.self))
    }

    func readHead() -> String? {
        let end: [UInt8] = [13, 10, 13, 10]
        while true {
            if let range = buffer.firstRange(of: end) {
                let head = String(decoding: buffer[..<range.lowerBound], as: UTF8.self)
                buffer.removeSubrange(..<range.upperBound)
                return head
            }
            guard fill() else { return nil }
        }
    }

    func read(_ count: Int) -> [UInt8]? {
        while buffer.count < count {
            guard fill() else { return nil }
        }
        defer { buffer.removeSubrange(..<count) }
        return Array(buffer[..<count])
    }

    /// The payload of one chunk of the request's body; nil at its end.
    func readChunk() -> [UInt8]? {
        var line: [UInt8] = []
        while line.suffix(2) != [13, 10] {
            guard let byte = read(1) else { return nil }
            line += byte
        }
        guard let size = Int(String(decoding: line.dropLast(2), as: UTF8.self), radix: 16), size > 0,
            let payload = read(size), read(2) != nil
        else { return nil }
        return payload
    }

    func writeChunk(_ bytes: [UInt8]) {
        write(Array("\(String(bytes.count, radix: 16))\r\n".utf8) + bytes + [13, 10])
    }
}
