internal import Glibc

/// One connection to corrald, with TLS where the endpoint says so; closed with its owner. Blocking, except where a call says
/// otherwise.
final class ClientSocket {
    /// A TLS record and what is around it.
    private static let largestRecord = 17 << 10

    /// Where it leads, for people.
    let path: String
    let descriptor: Int32
    private let tls: (any TLSStream)?
    /// Ciphered bytes on their way.
    private var unsent: [UInt8] = []

    /// Throws `ClientError.unreachable`.
    init(_ endpoint: ClientEndpoint, tls make: TLSMaker?) throws(ClientError) {
        path = endpoint.description
        descriptor = try endpoint.connect()
        guard case .tcp(let name, _, isTLS: true) = endpoint.place else {
            tls = nil
            return
        }
        do throws(TLSFailure) {
            guard let make else { throw TLSFailure("this program has no TLS") }
            tls = try make(name)
        } catch {
            tls = nil
            throw .tls(error.what)
        }
    }

    deinit {
        close(descriptor)
    }

    /// All of `bytes`.
    func write(_ bytes: [UInt8]) throws(ClientError) {
        if let tls { try encipher(bytes[...], tls) }
        var rest = tls == nil ? bytes[...] : unsent[...]
        while !rest.isEmpty {
            rest = rest.dropFirst(try send(rest, flags: 0) ?? 0)
        }
        unsent = []
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
        guard let tls else { return try send(bytes, flags: Int32(MSG_DONTWAIT)) }
        // What was enciphered has to leave before anything else may.
        guard try flush() else { return nil }
        let piece = bytes.prefix(Self.largestRecord)
        try encipher(piece, tls)
        _ = try flush()
        return piece.count
    }

    /// Some of what was written waits for the peer to read.
    var hasUnsent: Bool { !unsent.isEmpty }

    private func encipher(_ bytes: ArraySlice<UInt8>, _ tls: any TLSStream) throws(ClientError) {
        do throws(TLSFailure) {
            try tls.send(bytes)
        } catch {
            throw .tls(error.what)
        }
        unsent += tls.takeCipher()
    }

    /// False when the peer has to read first.
    private func flush() throws(ClientError) -> Bool {
        while !unsent.isEmpty {
            guard let count = try send(unsent[...], flags: Int32(MSG_DONTWAIT)) else { return false }
            unsent.removeFirst(count)
        }
        return true
    }

    private func send(_ bytes: ArraySlice<UInt8>, flags: Int32) throws(ClientError) -> Int? {
        let result = Self.retrying {
            bytes.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, flags | Int32(MSG_NOSIGNAL)) }
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
        guard let tls else { return try receive(into: &buffer, waiting: waiting) }
        // All that is deciphered is handed out at once, so that poll(2) on the socket tells of all that is left; a record of
        // which a part came before adds to what is read now.
        var cipher = [UInt8](repeating: 0, count: max(1, buffer.count - Self.largestRecord))
        while true {
            guard let count = try receive(into: &cipher, waiting: waiting) else { return nil }
            do throws(TLSFailure) {
                if count == 0 { try tls.receiveEnd() } else { try tls.receive(cipher[..<count]) }
            } catch {
                throw .tls(error.what)
            }
            // Handshakes and key updates are answered.
            unsent += tls.takeCipher()
            if waiting { try write([]) } else { _ = try flush() }
            let plain = tls.takePlain()
            if !plain.isEmpty {
                buffer.replaceSubrange(..<min(plain.count, buffer.count), with: plain)
                return plain.count
            }
            if count == 0 || tls.isEnded { return 0 }
        }
    }

    private func receive(into buffer: inout [UInt8], waiting: Bool) throws(ClientError) -> Int? {
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
