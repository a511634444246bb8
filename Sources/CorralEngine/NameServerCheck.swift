internal import CorralPolicy
internal import Glibc

/// Whether name servers answer at all: asked for the root's name servers, by UDP, all at once.
enum NameServerCheck {
    private static let patience: Int32 = 1500
    /// Id 0x4c52, recursion desired, one question: `.` NS IN.
    private static let query: [UInt8] = [0x4c, 0x52, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1]

    /// For each, nil when it answers, else why not. Blocks for a second and a half at most.
    static func ask(_ servers: [DNSEndpoint]) -> [String?] {
        var descriptors: [Int32] = []
        var answers: [String?] = []
        for server in servers {
            let (descriptor, problem) = send(to: server)
            descriptors.append(descriptor)
            answers.append(problem)
        }
        defer { for descriptor in descriptors where descriptor >= 0 { close(descriptor) } }
        let deadline = ContinuousClock.now + .milliseconds(Int64(patience))
        while true {
            var polled = zip(descriptors, answers).map { descriptor, answer in
                pollfd(fd: answer == waiting ? descriptor : -1, events: Int16(POLLIN), revents: 0)
            }
            let left = (deadline - .now) / .milliseconds(1)
            guard polled.contains(where: { $0.fd >= 0 }), left > 0,
                poll(&polled, nfds_t(polled.count), Int32(left) + 1) > 0
            else { break }
            for index in polled.indices where polled[index].revents != 0 {
                answers[index] = receive(polled[index].fd)
            }
        }
        return answers
    }

    private static let waiting = "does not answer"

    private static func send(to server: DNSEndpoint) -> (Int32, String?) {
        let address = server.sockaddrBytes
        let family = server.address.ipv4 == nil ? AF_INET6 : AF_INET
        let descriptor = socket(family, Int32(SOCK_DGRAM.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { return (-1, text(errno)) }
        let connected = address.withUnsafeBytes { bytes in
            bytes.baseAddress.map {
                connect(descriptor, $0.assumingMemoryBound(to: sockaddr.self), socklen_t(bytes.count))
            } ?? -1
        }
        guard connected == 0, Glibc.send(descriptor, query, query.count, Int32(MSG_NOSIGNAL)) == query.count else {
            return (descriptor, text(errno))
        }
        return (descriptor, waiting)
    }

    /// Any answer to the question will do, a refusal too: it is there.
    private static func receive(_ descriptor: Int32) -> String? {
        var bytes = [UInt8](repeating: 0, count: 4096)
        let count = recv(descriptor, &bytes, bytes.count, 0)
        guard count >= 0 else { return text(errno) }
        guard count >= 12, bytes[0] == query[0], bytes[1] == query[1], bytes[2] & 0x80 != 0 else {
            return "answers with what is no DNS"
        }
        return nil
    }

    private static func text(_ number: Int32) -> String { String(cString: strerror(number)) }
}

extension DNSEndpoint {
    /// `struct sockaddr_in` or `sockaddr_in6`: family in host byte order, port and address in network byte order.
    fileprivate var sockaddrBytes: [UInt8] {
        func host<Number: FixedWidthInteger>(_ number: Number) -> [UInt8] { withUnsafeBytes(of: number) { Array($0) } }
        let port = [UInt8(truncatingIfNeeded: port >> 8), UInt8(truncatingIfNeeded: port)]
        if address.ipv4 != nil {
            return host(sa_family_t(AF_INET)) + port + address.networkBytes.suffix(4) + [UInt8](repeating: 0, count: 8)
        }
        return host(sa_family_t(AF_INET6)) + port + [0, 0, 0, 0] + address.networkBytes
            + host(zone.map { if_nametoindex($0) } ?? 0)
    }
}
