internal import Glibc

/// One connection to a unix socket; closed with its owner. Blocking, except where a call says otherwise.
final class ClientSocket {
    let path: String
    let descriptor: Int32

    /// Throws `ClientError.unreachable`.
    init(path: String) throws(ClientError) {
        self.path = path
        let address = try Self.address(of: path)
        descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw .system(call: "socket", subject: "AF_UNIX", errno: errno) }
        // An interrupted connect(2) of a unix socket has not begun and may be repeated.
        let failure = Self.retrying {
            address.withUnsafeBytes { bytes in
                bytes.baseAddress.map {
                    connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
                } ?? -1
            }
        }
        if case .failure(let number) = failure {
            throw .unreachable(path: path, errno: number, remedy: SocketRemedy.text(path: path, errno: number))
        }
    }

    deinit {
        close(descriptor)
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

    /// All of `bytes`.
    func write(_ bytes: [UInt8]) throws(ClientError) {
        var rest = bytes[...]
        while !rest.isEmpty {
            rest = rest.dropFirst(try write(rest, flags: 0) ?? 0)
        }
    }

    /// Until the peer takes bytes. False when bytes of its own, or its end, are there to be read.
    func waitForRoom() throws(ClientError) -> Bool {
        var polled = pollfd(fd: descriptor, events: Int16(POLLIN | POLLOUT), revents: 0)
        if case .failure(let number) = Self.retrying({ poll(&polled, 1, -1) }) {
            throw .system(call: "poll", subject: path, errno: number)
        }
        return Int32(polled.revents) & ~POLLOUT == 0
    }

    /// Part of `bytes`, without waiting; nil when the peer has to read first.
    func writeWithoutWaiting(_ bytes: ArraySlice<UInt8>) throws(ClientError) -> Int? {
        try write(bytes, flags: Int32(MSG_DONTWAIT))
    }

    private func write(_ bytes: ArraySlice<UInt8>, flags: Int32) throws(ClientError) -> Int? {
        let result = Self.retrying {
            bytes.withUnsafeBytes { send(descriptor, $0.baseAddress, $0.count, flags | Int32(MSG_NOSIGNAL)) }
        }
        switch result {
        case .success(let count): return count
        case .failure(EAGAIN): return nil
        case .failure(let number): throw .system(call: "send", subject: path, errno: number)
        }
    }

    /// Bytes that have arrived, at most `buffer.count`; 0 at the end of the stream, nil when none have come and
    /// `waiting` is false.
    func read(into buffer: inout [UInt8], waiting: Bool) throws(ClientError) -> Int? {
        let flags = waiting ? 0 : Int32(MSG_DONTWAIT)
        let result = Self.retrying {
            buffer.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress, $0.count, flags) }
        }
        switch result {
        case .success(let count): return count
        case .failure(EAGAIN): return nil
        case .failure(let number): throw .system(call: "recv", subject: path, errno: number)
        }
    }

    /// Nothing has arrived and the peer has not closed: fit for another request.
    var isQuiet: Bool {
        var byte: UInt8 = 0
        let result = Self.retrying { recv(descriptor, &byte, 1, Int32(MSG_PEEK) | Int32(MSG_DONTWAIT)) }
        return result == .failure(EAGAIN)
    }

    enum Outcome: Equatable {
        case success(Int)
        /// errno
        case failure(Int32)
    }

    /// The one place where EINTR is handled.
    static func retrying(_ call: () -> some BinaryInteger) -> Outcome {
        while true {
            let result = call()
            if result >= 0 { return .success(Int(result)) }
            let number = errno
            if number != EINTR { return .failure(number) }
        }
    }
}

/// What a person can do about a socket that cannot be connected to.
enum SocketRemedy {
    static func text(path: String, errno number: Int32) -> String? {
        switch number {
        case ENOENT, ECONNREFUSED:
            return "is it running?"
        case EACCES, EPERM:
            var status = stat()
            guard lstat(path, &status) == 0 else { return "this user may not enter its directory" }
            let group = groupName(status.st_gid).map { "group \($0)" } ?? "the group with gid \(status.st_gid)"
            return "this needs root or a member of \(group)"
        default:
            return nil
        }
    }

    /// From /etc/group. Not getgrgid(3), which a static executable cannot use.
    private static func groupName(_ gid: gid_t) -> String? {
        guard let file = fopen("/etc/group", "re") else { return nil }
        defer { fclose(file) }
        var line: UnsafeMutablePointer<CChar>?
        var capacity = 0
        defer { free(line) }
        while getline(&line, &capacity, file) > 0, let text = line {
            let parts = String(cString: text).split(separator: ":", omittingEmptySubsequences: false)
            if parts.count >= 3, gid_t(parts[2]) == gid { return String(parts[0]) }
        }
        return nil
    }
}
