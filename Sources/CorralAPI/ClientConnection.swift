internal import Glibc

/// HTTP/1.1 over one socket, one request at a time.
final class ClientConnection {
    private static let readSize = 256 << 10

    let socket: ClientSocket
    private var parser = HTTPResponseParser()
    private var buffer = [UInt8](repeating: 0, count: readSize)
    /// The last response came whole and the server keeps the connection.
    private var isReusable = false
    private var keepsAlive = false
    /// A descriptor for output: once nobody reads it, waiting ends with `ClientError.outputClosed`.
    var output: Int32?

    init(path: String) throws(ClientError) {
        socket = try ClientSocket(path: path)
    }

    /// Fit for another request.
    var isIdle: Bool { isReusable && !parser.hasBufferedBytes && socket.isQuiet }

    /// Some of what was read has not been handed out yet.
    var holdsBytes: Bool { parser.hasBufferedBytes }

    /// Sends a request with its whole body, or with the head of one whose chunks the caller writes.
    func send(
        _ method: String, _ target: String, accept: String? = nil, body: RequestBody = .none
    ) throws(ClientError) {
        isReusable = false
        var head = "\(method) \(target) HTTP/1.1\r\nHost: corral\r\n"
        if let accept { head += "Accept: \(accept)\r\n" }
        var bytes: [UInt8] = []
        switch body {
        case .none: break
        case .json(let json):
            head += "Content-Type: application/json\r\nContent-Length: \(json.count)\r\n"
            bytes = json
        case .chunks(let type):
            head += "Content-Type: \(type)\r\nTransfer-Encoding: chunked\r\n"
        }
        try socket.write(Array((head + "\r\n").utf8) + bytes)
    }

    enum RequestBody {
        case none
        case json([UInt8])
        case chunks(type: String)
    }

    /// Waits for the head of the response.
    func readHead() throws(ClientError) -> HTTPResponseHead {
        while true {
            switch try readPart(waiting: true) {
            case .head(let head):
                keepsAlive = head.keepsAlive
                return head
            case nil: throw .closed(during: "a request")
            case .body, .end: throw .badResponse("a body before its head")
            }
        }
    }

    /// The rest of the response.
    func readBody(limit: Int) throws(ClientError) -> [UInt8] {
        var body: [UInt8] = []
        while let piece = try readPiece(waiting: true) {
            guard body.count + piece.count <= limit else { throw .badResponse("a body of more than \(limit) bytes") }
            body += piece
        }
        return body
    }

    /// A piece of the body; nil at its end. Empty when nothing has come and `waiting` is false.
    func readPiece(waiting: Bool) throws(ClientError) -> [UInt8]? {
        switch try readPart(waiting: waiting) {
        case .body(let piece): return piece
        case .end:
            isReusable = keepsAlive
            return nil
        case .head: throw .badResponse("a head within a body")
        case nil:
            guard waiting else { return [] }
            throw .closed(during: "an answer")
        }
    }

    /// Nil when the connection ended where it may, or when nothing has come and `waiting` is false.
    private func readPart(waiting: Bool) throws(ClientError) -> HTTPResponseParser.Part? {
        do throws(HTTPError) {
            if let part = try parser.next() { return part }
        } catch {
            throw .badResponse(error.what)
        }
        while true {
            if waiting, let output { try wait(unlessClosed: output) }
            guard let count = try socket.read(into: &buffer, waiting: waiting) else { return nil }
            do throws(HTTPError) {
                guard count > 0 else {
                    let part = try parser.close()
                    guard part != nil || waiting else { throw HTTPError("ends in the middle of a response") }
                    return part
                }
                parser.append(buffer[..<count])
                if let part = try parser.next() { return part }
            } catch {
                throw count > 0 ? .badResponse(error.what) : .closed(during: "an answer")
            }
        }
    }

    /// Returns once something has arrived.
    private func wait(unlessClosed output: Int32) throws(ClientError) {
        var polled = [
            pollfd(fd: socket.descriptor, events: Int16(POLLIN), revents: 0),
            // Hang-ups and errors come unasked.
            pollfd(fd: output, events: 0, revents: 0),
        ]
        let result = ClientSocket.retrying { poll(&polled, nfds_t(polled.count), -1) }
        if case .failure(let number) = result { throw .system(call: "poll", subject: socket.path, errno: number) }
        if polled[0].revents == 0, Int32(polled[1].revents) & (POLLERR | POLLHUP) != 0 { throw .outputClosed }
    }
}
