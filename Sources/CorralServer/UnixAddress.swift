internal import Glibc

/// Address of a unix socket as `connect` and `sendto` take it.
public struct UnixAddress: Sendable {
    /// `struct sockaddr_un` of exactly the length that the name needs.
    private let bytes: [UInt8]

    /// Nil when `name` is empty, holds a NUL or is longer than 107 bytes. A leading `@` means the abstract namespace.
    public init?(_ name: String) {
        var path = Array(name.utf8)
        guard (1...107).contains(path.count), !path.contains(0) else { return nil }
        let isAbstract = path[0] == UInt8(ascii: "@")
        if isAbstract { path[0] = 0 }
        // sun_family in host byte order, then sun_path; a path ends with a NUL, an abstract name with its length.
        bytes = withUnsafeBytes(of: sa_family_t(AF_UNIX)) { Array($0) } + path + (isAbstract ? [] : [0])
    }

    func withSockaddr<Result>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        // Room and alignment of the largest address, since a [UInt8] promises neither.
        withUnsafeTemporaryAllocation(
            byteCount: MemoryLayout<sockaddr_storage>.size, alignment: MemoryLayout<sockaddr_storage>.alignment
        ) { storage in
            storage.copyBytes(from: bytes)
            return body(storage.baseAddress!.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
        }
    }
}

/// A call of the system that failed: what was called, on what, and why.
public struct SystemCallError: Error, Sendable, CustomStringConvertible {
    public var call: String
    public var subject: String
    public var errno: Int32

    public init(_ call: String, _ subject: String, errno: Int32) {
        self.call = call
        self.subject = subject
        self.errno = errno
    }

    /// Reads the calling thread's `errno`: right after the call.
    public init(_ call: String, _ subject: String) {
        self.init(call, subject, errno: Glibc.errno)
    }

    public var description: String { "\(call) \(subject): \(String(cString: strerror(errno)))" }
}

extension UnixAddress {
    /// Whether somebody accepts connections there. Throws when that cannot be told.
    func isAnswered(as subject: String) throws(SystemCallError) -> Bool {
        let kind = SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
        let descriptor = socket(AF_UNIX, Int32(kind), 0)
        guard descriptor >= 0 else { throw SystemCallError("socket", subject) }
        defer { close(descriptor) }
        while true {
            if withSockaddr({ connect(descriptor, $0, $1) }) == 0 { return true }
            switch errno {
            case EINTR: continue
            // Somebody listens, and has not taken those who came before.
            case EAGAIN: return true
            case ECONNREFUSED, ENOENT: return false
            default: throw SystemCallError("connect", subject)
            }
        }
    }

    /// Sends one datagram there, for instance to `$NOTIFY_SOCKET` (sd_notify(3)).
    public func send(_ text: String) throws(SystemCallError) {
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { throw SystemCallError("socket", "datagram") }
        defer { close(descriptor) }
        let payload = Array(text.utf8)
        let sent = withSockaddr { address, length in
            payload.withUnsafeBytes {
                sendto(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL), address, length)
            }
        }
        guard sent == payload.count else { throw SystemCallError("sendto", "datagram") }
    }
}
