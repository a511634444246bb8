internal import CorralEvents
internal import Glibc

/// Where corrald listens, and the key for it.
struct ClientEndpoint: Sendable {
    enum Place: Sendable, Equatable {
        /// Path of a unix socket.
        case unix(String)
        /// `name`: an address, or a name that the host's resolver knows.
        case tcp(name: String, port: UInt16, isTLS: Bool)
    }

    static let expected =
        "unix:// and the absolute path of corrald's socket, such as \(Client.defaultHost), or tcp://127.0.0.1:PORT, or https://NAME:PORT"

    let place: Place
    let apiKey: String?

    /// Throws for a host of another form, and for one that would carry a key past this machine unprotected.
    init(host: String, apiKey: String?) throws(ClientError) {
        if let path = Self.rest(host, after: "unix://") {
            guard path.hasPrefix("/") else { throw .badHost(host, expected: Self.expected) }
            place = .unix(path)
            self.apiKey = nil
            return
        }
        let isTLS: Bool
        let rest: String
        if let text = Self.rest(host, after: "tcp://") {
            (isTLS, rest) = (false, text)
        } else if let text = Self.rest(host, after: "https://") {
            (isTLS, rest) = (true, text.hasSuffix("/") ? String(text.dropLast()) : text)
        } else {
            throw .badHost(host, expected: Self.expected)
        }
        guard let (name, port) = Self.split(rest) else { throw .badHost(host, expected: Self.expected) }
        guard isTLS || Self.isLoopback(name) else {
            throw .badHost(
                host, expected: "https:// for another machine: the API key must not cross a network in clear text")
        }
        guard let apiKey, !apiKey.isEmpty else {
            throw .badHost(host, expected: "an API key with it, in CORRAL_API_KEY or by --api-key-file")
        }
        guard apiKey.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }) else {
            throw .badHost(host, expected: "an API key of the form corral_…")
        }
        place = .tcp(name: name, port: port, isTLS: isTLS)
        self.apiKey = apiKey
    }

    private static func rest(_ text: String, after prefix: String) -> String? {
        text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : nil
    }

    /// `name:port` or `[address]:port`.
    private static func split(_ text: String) -> (String, UInt16)? {
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0 else {
            return nil
        }
        var name = text[..<colon]
        if name.hasPrefix("["), name.hasSuffix("]") {
            name = name.dropFirst().dropLast()
        } else if name.contains(":") {
            return nil
        }
        guard !name.isEmpty, name.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "/") }) else {
            return nil
        }
        return (String(name), port)
    }

    private static func isLoopback(_ name: String) -> Bool {
        name == "::1" || name == "localhost" || (name.hasPrefix("127.") && name.utf8.allSatisfy { $0 < 0x3a })
    }

    /// For people.
    var description: String {
        switch place {
        case .unix(let path): path
        case .tcp(let name, let port, _): name.contains(":") ? "[\(name)]:\(port)" : "\(name):\(port)"
        }
    }

    /// Of the `Host` field.
    var authority: String {
        switch place {
        case .unix: "corral"
        case .tcp: description
        }
    }

    /// A connected stream socket.
    func connect() throws(ClientError) -> Int32 {
        switch place {
        case .unix(let path): try Self.connect(path)
        case .tcp(let name, let port, _): try connect(name, port)
        }
    }

    private static func connect(_ path: String) throws(ClientError) -> Int32 {
        let address = try Self.address(of: path)
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .system(call: "socket", subject: "AF_UNIX", errno: errno) }
        // An interrupted connect(2) of a unix socket has not begun and may be repeated.
        let failure = ClientSocket.retrying {
            address.withUnsafeBytes { bytes in
                bytes.baseAddress.map {
                    Glibc.connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
                } ?? -1
            }
        }
        if case .failure(let number) = failure {
            close(descriptor)
            throw .unreachable(path: path, errno: number, remedy: SocketRemedy.text(path: path, errno: number))
        }
        return descriptor
    }

    /// `struct sockaddr_un` as bytes: assigning to its C array would go through a tuple.
    private static func address(of path: String) throws(ClientError) -> [UInt8] {
        let limit = MemoryLayout<sockaddr_un>.size - MemoryLayout<sa_family_t>.size - 1
        guard (1...limit).contains(path.utf8.count), !path.utf8.contains(0) else {
            throw .badHost("unix://\(path)", expected: "a socket path of 1 to \(limit) bytes")
        }
        let family = sa_family_t(AF_UNIX)
        return withUnsafeBytes(of: family) { Array($0) } + Array(path.utf8) + [0]
    }

    /// The first of the name's addresses that answers.
    private func connect(_ name: String, _ port: UInt16) throws(ClientError) -> Int32 {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
        hints.ai_flags = AI_NUMERICSERV
        var found: UnsafeMutablePointer<addrinfo>?
        let status = getaddrinfo(name, "\(port)", &hints, &found)
        guard status == 0 else {
            let reason = gai_strerror(status).map { String(cString: $0) } ?? "error \(status)"
            throw .badHost(name, expected: "a name that can be resolved (\(reason))")
        }
        defer { freeaddrinfo(found) }
        var number = ENOENT
        var next = found
        while let entry = next {
            next = entry.pointee.ai_next
            let descriptor = socket(
                entry.pointee.ai_family, entry.pointee.ai_socktype | Int32(SOCK_CLOEXEC.rawValue), 0)
            guard descriptor >= 0 else {
                number = errno
                continue
            }
            // An interrupted connect(2) goes on by itself; poll(2) tells when it has ended.
            if Glibc.connect(descriptor, entry.pointee.ai_addr, entry.pointee.ai_addrlen) == 0
                || (errno == EINTR && Self.hasConnected(descriptor))
            {
                var on: Int32 = 1
                setsockopt(
                    descriptor, Int32(IPPROTO_TCP), TCP_NODELAY, &on, socklen_t(MemoryLayout<Int32>.size))
                return descriptor
            }
            number = errno
            close(descriptor)
        }
        throw .unreachable(
            path: description, errno: number,
            remedy: number == ECONNREFUSED ? "is it running there, with --listen?" : nil)
    }

    private static func hasConnected(_ descriptor: Int32) -> Bool {
        var polled = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
        guard case .success = ClientSocket.retrying({ poll(&polled, 1, -1) }) else { return false }
        var error: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 else { return false }
        if error != 0 { errno = error }
        return error == 0
    }
}
