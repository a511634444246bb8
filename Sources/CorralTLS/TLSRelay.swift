internal import Glibc

/// Carries bytes between a client that knows no TLS and a server that does.
///
/// The client's first line tells what became of the handshake: `ok`, or why not. Nothing of what the client sends is read
/// before. The relay ends with its client, whatever the server does.
public struct TLSRelay {
    /// Bytes that may wait in either direction before their source is no longer read.
    private static let limit = 256 << 10

    private let client: Int32
    private let server: Int32
    private let tls: TLSClientStream
    private var toClient: [UInt8] = []
    private var toServer: [UInt8] = []
    private var isReady = false
    private var isServerDone = false
    private var hasToldEnd = false
    private var block = [UInt8](repeating: 0, count: 64 << 10)

    /// Descriptors of connected stream sockets, lent for as long as `run` lasts. `name` must stand in the server's certificate;
    /// `roots`: a PEM file with the certificates to trust, nil for those of the system.
    public static func run(client: Int32, server: Int32, name: String, roots: String?) {
        for descriptor in [client, server] { _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK) }
        do throws(TLSFailure) {
            var relay = TLSRelay(client: client, server: server, tls: try TLSClientStream(name: name, roots: roots))
            try relay.run()
        } catch {
            let line = error.what.split(whereSeparator: \.isNewline).joined(separator: " ") + "\n"
            // A few hundred bytes have room in a socket to which nothing was written.
            _ = Array(line.utf8.prefix(1000)).withUnsafeBytes {
                Glibc.send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))
            }
        }
    }

    private init(client: Int32, server: Int32, tls: TLSClientStream) {
        self.client = client
        self.server = server
        self.tls = tls
        toServer = tls.takeCipher()
    }

    /// Returns when the client has ended. Throws before it has been told of a handshake.
    private mutating func run() throws(TLSFailure) {
        while true {
            let readsClient = isReady && (isServerDone || toServer.count < Self.limit)
            let readsServer = !isServerDone && toClient.count < Self.limit
            var polled = [
                pollfd(
                    fd: client, events: Int16((readsClient ? POLLIN : 0) | (toClient.isEmpty ? 0 : POLLOUT)), revents: 0
                ),
                // A hang-up of a server that is done is told without end.
                pollfd(
                    fd: isServerDone ? -1 : server,
                    events: Int16((readsServer ? POLLIN : 0) | (toServer.isEmpty ? 0 : POLLOUT)), revents: 0),
            ]
            guard poll(&polled, 2, -1) >= 0 || errno == EINTR else { return }
            if Int32(polled[1].revents) & ~POLLIN != 0 { flushServer() }
            if Int32(polled[1].revents) & ~POLLOUT != 0, readsServer { try readServer() }
            if Int32(polled[0].revents) & POLLIN != 0 {
                guard try readClient() else { return }
            } else if Int32(polled[0].revents) & (POLLHUP | POLLERR) != 0 {
                return
            }
            flushServer()
            guard flushClient() else { return }
        }
    }

    private mutating func readServer() throws(TLSFailure) {
        let count = recv(server, &block, block.count, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return }
        let text = errno
        guard count > 0 else {
            // HTTP says by itself whether an answer is whole.
            isServerDone = true
            if !isReady {
                throw TLSFailure(count == 0 ? "the server closed the connection" : String(cString: strerror(text)))
            }
            return
        }
        do throws(TLSFailure) {
            try tls.receive(block[..<count])
        } catch {
            guard isReady else { throw error }
            isServerDone = true
        }
        if !isReady, tls.isEstablished {
            isReady = true
            toClient = Array("ok\n".utf8)
        }
        toClient += tls.takePlain()
        toServer += tls.takeCipher()
        if tls.isEnded { isServerDone = true }
    }

    /// False at the client's end.
    private mutating func readClient() throws(TLSFailure) -> Bool {
        let count = recv(client, &block, block.count, 0)
        if count < 0, errno == EAGAIN || errno == EINTR { return true }
        guard count > 0 else { return false }
        // There is nobody to send it to; the client has yet to read what it was told.
        guard !isServerDone else { return true }
        do throws(TLSFailure) {
            try tls.send(block[..<count])
        } catch {
            isServerDone = true
        }
        toServer += tls.takeCipher()
        return true
    }

    private mutating func flushServer() {
        while !toServer.isEmpty, !isServerDone {
            let count = toServer.withUnsafeBytes { Glibc.send(server, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0, errno == EINTR { continue }
            if count < 0, errno == EAGAIN { return }
            guard count >= 0 else {
                // What it has said before can still be read, and reading tells of its end.
                toServer = []
                return
            }
            toServer.removeFirst(count)
        }
    }

    /// False when the client is gone.
    private mutating func flushClient() -> Bool {
        while !toClient.isEmpty {
            let count = toClient.withUnsafeBytes { Glibc.send(client, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
            if count < 0, errno == EINTR { continue }
            if count < 0 { return errno == EAGAIN }
            toClient.removeFirst(count)
        }
        if isServerDone, !hasToldEnd {
            hasToldEnd = true
            shutdown(client, Int32(SHUT_WR))
        }
        return true
    }
}
