internal import CorralEvents
internal import NIOCore
internal import Synchronization

/// Why no answer came from outside.
enum UpstreamError: Error, Sendable, Equatable {
    /// None is configured.
    case noServer
    case timeout
    /// The task that asked was cancelled.
    case cancelled
    case unreachable(String)
    /// What came made no sense.
    case garbled
    /// A response code other than NOERROR and NXDOMAIN.
    case code(DNSResponseCode)
}

/// Forwards questions to recursive name servers outside: one after the other until one answers, each over UDP first, and over TCP
/// when UDP will not do.
final class Upstream: UpstreamResolver {
    struct Limits: Sendable, Equatable {
        /// For one server by one transport.
        var timeout: Duration = .milliseconds(1500)
        /// For one question. Below the 5 s that resolver libraries wait, so that a sandbox hears of the failure.
        var total: Duration = .milliseconds(4500)
        /// Servers asked for one question; the first is asked again when there are fewer.
        var attempts = 3
        /// Octets that an answer over UDP may have: what passes every link without fragments (DNS flag day 2020).
        var payloadSize: UInt16 = 1232
    }

    private let servers: UpstreamServers
    private let limits: Limits
    private let group: any EventLoopGroup
    /// The server to ask first, counted round: the next one when one did not answer.
    private let preferred = Mutex(0)

    init(servers: UpstreamServers, group: any EventLoopGroup, limits: Limits = Limits()) {
        self.servers = servers
        self.group = group
        self.limits = limits
    }

    func resolve(_ question: DNSQuestion) async throws(UpstreamError) -> DNSMessage {
        let servers = servers.current()
        guard !servers.isEmpty else { throw .noServer }
        let deadline = NIODeadline.now() + TimeAmount(limits.total)
        let start = preferred.withLock { $0 % servers.count }
        var failure = UpstreamError.timeout
        for attempt in 0..<max(1, limits.attempts) where deadline > .now() {
            let index = (start + attempt) % servers.count
            do throws(UpstreamError) {
                return try await ask(servers[index], question, until: deadline)
            } catch {
                if Task.isCancelled { throw .cancelled }
                failure = error
                preferred.withLock { if $0 % servers.count == index { $0 = (index + 1) % servers.count } }
            }
        }
        throw failure
    }

    private func ask(
        _ server: DNSEndpoint, _ question: DNSQuestion, until deadline: NIODeadline
    ) async throws(UpstreamError) -> DNSMessage {
        guard let address = server.socketAddress else { throw .unreachable("no interface \(server.zone ?? "")") }
        let message = try await exchange(address, question, payloadSize: limits.payloadSize, deadline)
        switch message.responseCode {
        case .noError, .nameError: return message
        case .formatError, .notImplemented, .badVersion:
            // A server older than EDNS (RFC 6891, section 7).
            let plain = try await exchange(address, question, payloadSize: nil, deadline)
            guard plain.responseCode == .noError || plain.responseCode == .nameError else {
                throw .code(plain.responseCode)
            }
            return plain
        case let code: throw .code(code)
        }
    }

    private func exchange(
        _ server: SocketAddress, _ question: DNSQuestion, payloadSize: UInt16?, _ deadline: NIODeadline
    ) async throws(UpstreamError) -> DNSMessage {
        var random = SystemRandomNumberGenerator()
        let loop = group.next()
        func timeout() throws(UpstreamError) -> TimeAmount {
            let left = min(TimeAmount(limits.timeout), deadline - .now())
            guard left > .zero else { throw .timeout }
            return left
        }
        let datagram = UpstreamQuery(question, payloadSize: payloadSize, using: &random)
        if case .answer(let message) = try await UpstreamExchange.udp(
            datagram, to: server, within: timeout(), on: loop)
        {
            return message
        }
        let stream = UpstreamQuery(question, payloadSize: payloadSize, using: &random)
        guard
            case .answer(let message) = try await UpstreamExchange.tcp(
                stream, to: server, within: timeout(), on: loop)
        else { throw .garbled }
        return message
    }
}
