internal import CLinux
internal import Glibc
internal import Synchronization

/// A conversation with the kernel over AF_NETLINK. Requests are answered before `sendto` returns, so nothing here waits:
/// an answer that is missing is an error. May be used from any thread; one transaction at a time.
public final class NetlinkSocket: Sendable {
    private let descriptor: FileDescriptor
    /// Also held for the length of a transaction.
    private let sequence = Mutex<UInt32>(0)

    /// Opens a socket in the calling thread's network namespace.
    init(protocol number: some BinaryInteger) throws(KernelError) {
        let raw = try systemCall("socket(AF_NETLINK)") { corral_netlink_open(Int32(truncatingIfNeeded: number)) }
        descriptor = FileDescriptor(owning: raw)
    }

    /// Takes a socket that was opened in another network namespace; it keeps speaking for that one.
    public init(adopting descriptor: consuming FileDescriptor) throws(KernelError) {
        let raw = descriptor.raw
        try systemCall("setsockopt(SO_RCVBUF)", on: "netlink socket") { corral_netlink_prepare(raw) }
        self.descriptor = descriptor
    }

    /// One send holds at most this many requests, so that all their answers fit the receive buffer.
    private static let batch = 256

    /// Sends the requests in as few calls as possible and collects an acknowledgement of each. The kernel goes on after a
    /// request that fails; the first failure that `tolerating` does not accept is thrown once all are answered. Returns
    /// the data messages that were answered beside the acknowledgements.
    @discardableResult
    func perform(
        _ requests: [NetlinkMessage], tolerating: (NetlinkMessage, Int32) -> Bool = { _, _ in false }
    ) throws(KernelError) -> [NetlinkReply] {
        var data: [NetlinkReply] = []
        var start = 0
        while start < requests.count {
            let end = min(start + Self.batch, requests.count)
            try perform(requests[start..<end], framed: nil, tolerating: tolerating, data: &data)
            start = end
        }
        return data
    }

    /// As `perform`, with an unacknowledged message before and after: nfnetlink's transactions.
    func perform(
        _ requests: [NetlinkMessage], framedBy begin: NetlinkMessage, _ end: NetlinkMessage
    ) throws(KernelError) {
        var data: [NetlinkReply] = []
        try perform(requests[...], framed: (begin, end), tolerating: { _, _ in false }, data: &data)
    }

    private func perform(
        _ requests: ArraySlice<NetlinkMessage>, framed frame: (NetlinkMessage, NetlinkMessage)?,
        tolerating: (NetlinkMessage, Int32) -> Bool, data: inout [NetlinkReply]
    ) throws(KernelError) {
        // Typed throws and `withLock` disagree about rethrowing an inout capture, hence the Result.
        let outcome = sequence.withLock { sequence -> Result<[NetlinkReply], KernelError> in
            do throws(KernelError) {
                return .success(
                    try Self.exchange(
                        on: descriptor.raw, requests, framed: frame, tolerating: tolerating, sequence: &sequence
                    )
                )
            } catch {
                return .failure(error)
            }
        }
        data += try outcome.get()
    }

    private static func exchange(
        on socket: Int32, _ requests: ArraySlice<NetlinkMessage>, framed frame: (NetlinkMessage, NetlinkMessage)?,
        tolerating: (NetlinkMessage, Int32) -> Bool, sequence: inout UInt32
    ) throws(KernelError) -> [NetlinkReply] {
        guard let first = requests.first else { return [] }
        discardLeftovers(of: socket)

        var bytes: [UInt8] = []
        var pending: [UInt32: NetlinkMessage] = [:]
        var frameNumbers: Set<UInt32> = []
        if let frame {
            sequence &+= 1
            frameNumbers.insert(sequence)
            bytes += frame.0.encoded(sequence: sequence, acknowledge: false)
        }
        for request in requests {
            sequence &+= 1
            pending[sequence] = request
            bytes += request.encoded(sequence: sequence, acknowledge: true)
        }
        if let frame {
            sequence &+= 1
            frameNumbers.insert(sequence)
            bytes += frame.1.encoded(sequence: sequence, acknowledge: false)
        }
        try send(bytes, on: socket, for: first)

        var data: [NetlinkReply] = []
        var failures: [(UInt32, KernelError)] = []
        while !pending.isEmpty {
            let replies: [NetlinkReply]
            do throws(KernelError) {
                replies = try receive(on: socket, for: first)
            } catch {
                // A refused transaction may leave requests unanswered; its own error says more than their silence.
                if let worst = failures.min(by: { $0.0 < $1.0 }) { throw worst.1 }
                throw error
            }
            for reply in replies {
                if reply.type == UInt16(NLMSG_ERROR) {
                    if let request = pending.removeValue(forKey: reply.sequence) {
                        if let error = reply.error(of: request), !tolerating(request, error.errno) {
                            failures.append((reply.sequence, error))
                        }
                    } else if frameNumbers.contains(reply.sequence), let error = reply.error(of: first) {
                        throw error
                    }
                } else if pending[reply.sequence] != nil {
                    data.append(reply)
                }
            }
        }
        if let first = failures.min(by: { $0.0 < $1.0 }) { throw first.1 }
        return data
    }

    /// Everything that a dump request lists. Repeated when the list changed under it.
    func dump(_ request: NetlinkMessage) throws(KernelError) -> [NetlinkReply] {
        let outcome = sequence.withLock { sequence -> Result<[NetlinkReply], KernelError> in
            do throws(KernelError) {
                for _ in 0..<16 {
                    sequence &+= 1
                    if let complete = try Self.dumpOnce(request, on: descriptor.raw, sequence: sequence) {
                        return .success(complete)
                    }
                }
                throw KernelError(
                    call: "\(request.name)", subject: request.subject, errno: EINTR, detail: "kept changing")
            } catch {
                return .failure(error)
            }
        }
        return try outcome.get()
    }

    /// Nil: interrupted by a change.
    private static func dumpOnce(
        _ request: NetlinkMessage, on socket: Int32, sequence: UInt32
    ) throws(KernelError) -> [NetlinkReply]? {
        discardLeftovers(of: socket)
        try send(request.encoded(sequence: sequence, acknowledge: false), on: socket, for: request)
        var found: [NetlinkReply] = []
        var interrupted = false
        while true {
            for reply in try receive(on: socket, for: request) where reply.sequence == sequence {
                if reply.flags & UInt16(NLM_F_DUMP_INTR) != 0 { interrupted = true }
                switch Int32(reply.type) {
                case NLMSG_DONE:
                    if let error = reply.error(of: request) { throw error }
                    return interrupted ? nil : found
                case NLMSG_ERROR:
                    if let error = reply.error(of: request) { throw error }
                default:
                    found.append(reply)
                }
            }
        }
    }

    private static func send(_ bytes: [UInt8], on socket: Int32, for request: NetlinkMessage) throws(KernelError) {
        let sent = try systemCall("sendto(\(request.name))", on: request.subject) {
            bytes.withUnsafeBytes { corral_netlink_send(socket, $0.baseAddress, $0.count) }
        }
        guard sent == bytes.count else {
            throw KernelError(
                call: "sendto(\(request.name))", subject: request.subject, errno: 0, detail: "sent in part")
        }
    }

    private static func receive(on socket: Int32, for request: NetlinkMessage) throws(KernelError) -> [NetlinkReply] {
        var length = 0
        var failed: KernelError?
        let bytes = [UInt8](unsafeUninitializedCapacity: 64 << 10) { buffer, count in
            do throws(KernelError) {
                length = try systemCall("recvfrom(\(request.name))", on: request.subject) {
                    corral_netlink_receive(socket, buffer.baseAddress, buffer.count)
                }
                count = min(length, buffer.count)
            } catch {
                failed = error
            }
        }
        if let failed { throw failed }
        guard length <= bytes.count, let replies = NetlinkReply.parse(bytes) else {
            throw KernelError(
                call: "recvfrom(\(request.name))", subject: request.subject, errno: EBADMSG, detail: "\(length) bytes"
            )
        }
        return replies
    }

    /// Answers to an earlier request that failed half-way must not be taken for answers to the next.
    private static func discardLeftovers(of socket: Int32) {
        var byte: UInt8 = 0
        while corral_netlink_receive(socket, &byte, 1) >= 0 {}
    }
}

extension NetlinkReply {
    /// The error that an acknowledgement or the end of a dump carries; nil for success.
    fileprivate func error(of request: NetlinkMessage) -> KernelError? {
        guard let code = payload.number(at: 0, as: Int32.self) else {
            return type == UInt16(NLMSG_DONE)
                ? nil : KernelError(call: "\(request.name)", subject: request.subject, errno: EBADMSG)
        }
        guard code < 0 else { return nil }
        var detail: String?
        if flags & UInt16(NLM_F_ACK_TLVS) != 0 {
            // After the code comes the request's header, and its payload unless the answer is capped.
            let echoed =
                type == UInt16(NLMSG_DONE)
                ? 0
                : flags & UInt16(NLM_F_CAPPED) != 0
                    ? 16 : Int(payload.number(at: 4, as: UInt32.self) ?? 16)
            detail = attributes(after: 4 + (echoed + 3) / 4 * 4)[UInt16(NLMSGERR_ATTR_MSG.rawValue)]?.terminatedText
        }
        return KernelError(
            call: "\(request.name)", subject: request.subject, errno: code == .min ? EBADMSG : -code, detail: detail
        )
    }
}
