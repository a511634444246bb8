import CorralEvents
import CorralPolicy
import Synchronization

@testable import CorralEngine

extension IPAddress {
    /// Of a literal that the test itself wrote.
    static func literal(_ text: String) -> IPAddress { IPAddress(text) ?? IPAddress(high: 0, low: 0) }
}

extension DNSName {
    static func literal(_ text: String) -> DNSName { DNSName(text) ?? .root }
}

extension DNSRecord {
    static func a(_ name: String, _ address: String, ttl: UInt32 = 300) -> DNSRecord {
        DNSRecord(name: .literal(name), type: .a, ttl: ttl, data: .ipv4(.literal(address)))
    }

    static func aaaa(_ name: String, _ address: String, ttl: UInt32 = 300) -> DNSRecord {
        DNSRecord(name: .literal(name), type: .aaaa, ttl: ttl, data: .ipv6(.literal(address)))
    }

    static func cname(_ name: String, _ target: String, ttl: UInt32 = 300) -> DNSRecord {
        DNSRecord(name: .literal(name), type: .cname, ttl: ttl, data: .name(.literal(target)))
    }

    static func soa(_ name: String, ttl: UInt32 = 300, minimum: UInt32 = 60) -> DNSRecord {
        DNSRecord(
            name: .literal(name), type: .soa, ttl: ttl,
            data: .authority(
                StartOfAuthority(
                    server: .literal("ns.\(name)"), mailbox: .literal("admin.\(name)"), timers: [1, 2, 3, 4],
                    minimum: minimum)))
    }
}

/// A query as a program sends it.
func query(
    _ name: String, _ type: DNSRecordType = .a, id: UInt16 = 0x1234, edns: EDNS? = nil, class: UInt16 = 1
) -> [UInt8] {
    var flags = DNSFlags()
    flags.recursionDesired = true
    return DNSMessage(
        id: id, flags: flags,
        questions: [DNSQuestion(name: .literal(name), type: type, questionClass: `class`)], edns: edns
    ).encoded()
}

/// An answer to `query` as a name server gives it.
func answer(
    to query: DNSMessage, _ answers: [DNSRecord], code: DNSResponseCode = .noError, authorities: [DNSRecord] = [],
    additionals: [DNSRecord] = []
) -> DNSMessage {
    var flags = DNSFlags()
    flags.isResponse = true
    flags.recursionDesired = true
    flags.recursionAvailable = true
    var message = DNSMessage(
        id: query.id, flags: flags, questions: query.questions, answers: answers, authorities: authorities,
        additionals: additionals, edns: query.edns.map { _ in EDNS(payloadSize: 1232) })
    message.responseCode = code
    return message
}

struct PinRefused: Error {}

/// Rules for names, addresses that are never given, and a record of all that the resolver did.
final class FakeAuthority: ResolverAuthority {
    struct Pin: Sendable, Equatable {
        var addresses: [IPAddress]
        var name: String
        var rules: [Int]
        var seconds: UInt32
        var client: ResolverClient
    }

    struct State: Sendable {
        var clients: [IPAddress: ResolverClient] = [
            .literal("10.213.0.1"): ResolverClient(slot: 1, epoch: 11),
            .literal("10.213.0.2"): ResolverClient(slot: 2, epoch: 12),
            .literal("127.0.0.1"): ResolverClient(slot: 3, epoch: 13),
            .literal("::1"): ResolverClient(slot: 4, epoch: 14),
        ]
        /// By name, for every client; what is not here is not allowed.
        var decisions: [String: NameDecision] = [
            "api.example.com": .allowed(rules: [0], anywhere: false),
            "big.example.com": .allowed(rules: [0, 2], anywhere: false),
            "denied.example.com": .denied(rule: 1),
        ]
        /// Names below it are allowed by rule 7.
        var wildcard: String? = "wild.example"
        var opened: [IPAddress] = []
        var dnsQueries: UInt64?
        var isAudited = false
        var refusesPins = false
        var pins: [Pin] = []
        var reports: [DNSReport] = []
        var asked: [String] = []
        /// Called within `pin`.
        var duringPin: (@Sendable () -> Void)?
    }

    static let one = ResolverPeer(address: .literal("10.213.0.1"), port: 4000, transport: .udp)
    static let two = ResolverPeer(address: .literal("10.213.0.2"), port: 4000, transport: .udp)
    static let stream = ResolverPeer(address: .literal("10.213.0.1"), port: 4000, transport: .tcp)

    private let state = Mutex(State())

    func edit(_ body: (inout sending State) -> Void) { state.withLock { body(&$0) } }
    var pins: [Pin] { state.withLock { $0.pins } }
    var reports: [DNSReport] { state.withLock { $0.reports } }
    var asked: [String] { state.withLock { $0.asked } }

    func client(at address: IPAddress) -> ResolverClient? { state.withLock { $0.clients[address] } }

    func isPresent(_ client: ResolverClient) -> Bool { state.withLock { $0.clients.values.contains(client) } }

    func decide(_ name: String, for client: ResolverClient) -> NameDecision {
        state.withLock { state in
            state.asked.append(name)
            if let decision = state.decisions[name] { return decision }
            if let wildcard = state.wildcard, name.hasSuffix("." + wildcard) {
                return .allowed(rules: [7], anywhere: false)
            }
            return .notAllowed
        }
    }

    static let reserved = [
        "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "192.168.0.0/16", "fc00::/7", "::1/128", "fe80::/10",
    ].compactMap { IPPrefix($0) }

    func mayAnswer(_ address: IPAddress, for client: ResolverClient) -> Bool {
        state.withLock { $0.opened.contains(address) } || !Self.reserved.contains { $0.contains(address) }
    }

    func pin(_ addresses: [IPAddress], name: String, rules: [Int], seconds: UInt32, for client: ResolverClient) throws {
        let during = try state.withLock { state in
            if state.refusesPins { throw PinRefused() }
            state.pins.append(
                Pin(addresses: addresses, name: name, rules: rules, seconds: seconds, client: client))
            return state.duringPin
        }
        during?()
    }

    func report(_ query: DNSReport, for client: ResolverClient) { state.withLock { $0.reports.append(query) } }
    func budget(for client: ResolverClient) -> UInt64? { state.withLock { $0.dnsQueries } }
    func isAudited(_ client: ResolverClient) -> Bool { state.withLock { $0.isAudited } }
}

/// Answers from a table; what is not in it fails. Counts.
final class FakeUpstream: UpstreamResolver {
    private struct State: Sendable {
        var answers: [DNSQuestion: DNSMessage] = [:]
        var questions: [DNSQuestion] = []
        var isHeld = false
        var waiting: [CheckedContinuation<Void, Never>] = []
    }

    private let state = Mutex(State())

    var questions: [DNSQuestion] { state.withLock { $0.questions } }
    /// Questions that wait for `release`.
    var waiting: Int { state.withLock { $0.waiting.count } }

    func set(
        _ name: String, type: DNSRecordType = .a, _ answers: [DNSRecord], code: DNSResponseCode = .noError,
        authorities: [DNSRecord] = [], additionals: [DNSRecord] = []
    ) {
        let question = DNSQuestion(name: .literal(name), type: type)
        let query = DNSMessage(id: 1, flags: DNSFlags(), questions: [question], edns: EDNS(payloadSize: 1232))
        state.withLock {
            $0.answers[question] = answer(
                to: query, answers, code: code, authorities: authorities, additionals: additionals)
        }
    }

    func hold() { state.withLock { $0.isHeld = true } }

    func release() {
        let waiting = state.withLock { state in
            state.isHeld = false
            defer { state.waiting = [] }
            return state.waiting
        }
        for continuation in waiting { continuation.resume() }
    }

    func resolve(_ question: DNSQuestion) async throws(UpstreamError) -> DNSMessage {
        state.withLock { $0.questions.append(question) }
        await withCheckedContinuation { continuation in
            let isHeld = state.withLock { state in
                if state.isHeld { state.waiting.append(continuation) }
                return state.isHeld
            }
            if !isHeld { continuation.resume() }
        }
        guard let message = state.withLock({ $0.answers[question] }) else { throw .timeout }
        return message
    }
}

/// Stands still unless moved.
final class FakeClock: Sendable {
    private let start = ContinuousClock.now
    private let offset = Mutex(Duration.zero)

    var now: ContinuousClock.Instant { start.advanced(by: offset.withLock { $0 }) }
    func advance(_ duration: Duration) { offset.withLock { $0 += duration } }
}

/// A resolver with all its surroundings faked.
struct Bench {
    let authority = FakeAuthority()
    let upstream = FakeUpstream()
    let clock = FakeClock()
    let resolver: Resolver

    init(_ configuration: ResolverConfiguration = ResolverConfiguration()) {
        resolver = Resolver(
            configuration: configuration, authority: authority, upstream: upstream, now: { [clock] in clock.now })
    }

    /// Nil when nothing is answered.
    func ask(_ bytes: [UInt8], from source: ResolverPeer = FakeAuthority.one) async throws -> DNSMessage? {
        guard let bytes = await resolver.answer(bytes, from: source) else { return nil }
        return try DNSMessage(decoding: bytes)
    }
}

/// The generator of SplitMix64, for tests that repeat.
struct SeededRandom: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var z = state
        z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
        z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
        return z ^ z >> 31
    }
}
