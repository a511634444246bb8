import CorralEvents
import CorralPolicy
import Synchronization
import Testing

@testable import CorralEngine

/// A million messages and more: nothing traps, nothing takes long, and whatever is sent is well formed and harmless.
@Suite struct HostileMessageTests {
    private static let reserved = FakeAuthority.reserved

    private static func mayAnswer(_ address: IPAddress) -> Bool { !reserved.contains { $0.contains(address) } }

    /// What is wrong with an answer that a sandbox would get; nil when nothing is.
    private static func flaw(_ bytes: [UInt8], limit: Int, opened: [IPAddress]?) -> String? {
        guard bytes.count <= limit else { return "too large" }
        guard let message = try? DNSMessage(decoding: bytes) else { return "malformed" }
        guard message.flags.isResponse, message.additionals.isEmpty else { return "shape" }
        for record in message.answers {
            for address in record.addresses {
                if !mayAnswer(address) { return "reserved address" }
                if let opened, !opened.contains(address) { return "address not opened" }
            }
            if case .service(let binding) = record.data,
                binding.parameters.contains(where: { $0.key == 5 || $0.key > 6 })
            {
                return "ech"
            }
        }
        return nil
    }

    @Test(arguments: 0..<4 as Range<UInt64>)
    func whatIsReadIsWrittenAndReadAgain(seed: UInt64) async {
        let good = HostileMessages.queries + [DNSRecordType.a, .https].flatMap(HostileMessages.answers)
        var messages = HostileMessages(seed: seed, good: good)
        var (read, flaws) = (0, 0)
        for index in 0..<150_000 {
            await breathe(index)
            guard let message = try? DNSMessage(decoding: messages.next()) else { continue }
            read += 1
            let bytes = message.encoded()
            // Names that were compressed may grow past what one message holds.
            guard let again = try? DNSMessage(decoding: bytes), again == message || again.flags.isTruncated else {
                flaws += 1
                continue
            }
        }
        #expect(flaws == 0)
        // Enough of them are whole, or nothing would be shown.
        #expect((30_000...140_000).contains(read), "\(read)")
    }

    @Test(arguments: 10..<14 as Range<UInt64>)
    func everyQueryIsAnsweredWellOrNotAtAll(seed: UInt64) async throws {
        var configuration = ResolverConfiguration()
        (configuration.budget.rate, configuration.budget.burst) = (1e9, 1e9)
        configuration.budget.nameOctetBurst = 1e9
        let authority = QuietAuthority()
        let upstream = FakeUpstream()
        upstream.set("api.example.com", [.a("api.example.com", "203.0.113.7"), .a("api.example.com", "10.0.0.1")])
        upstream.set("big.example.com", (0..<60).map { .a("big.example.com", "203.0.113.\($0)") })
        let resolver = Resolver(configuration: configuration, authority: authority, upstream: upstream)
        var messages = HostileMessages(seed: seed, good: HostileMessages.queries)
        var (answered, withRecords) = (0, 0)
        var flaws: [String: Int] = [:]
        for index in 0..<75_000 {
            await breathe(index)
            let bytes = messages.next()
            authority.clear()
            guard let answer = await resolver.answer(bytes, from: FakeAuthority.one) else { continue }
            answered += 1
            if let flaw = Self.flaw(answer, limit: 1232, opened: authority.opened) { flaws[flaw, default: 0] += 1 }
            if !answer.prefix(2).elementsEqual(bytes.prefix(2)) { flaws["id", default: 0] += 1 }
            if answer[6...7] != [0, 0] { withRecords += 1 }
        }
        #expect(flaws.isEmpty)
        #expect(answered > 30_000 && withRecords > 500, "\(answered), \(withRecords)")
    }

    @Test(arguments: 20..<24 as Range<UInt64>)
    func noAnswerFromOutsideDoesHarm(seed: UInt64) async throws {
        var configuration = ResolverConfiguration()
        (configuration.budget.rate, configuration.budget.burst) = (1e9, 1e9)
        configuration.budget.nameOctetBurst = 1e9
        configuration.cache.entries = 0
        let authority = QuietAuthority()
        let types: [DNSRecordType] = [.a, .aaaa, .https, .txt, .cname]
        let upstream = HostileUpstream(seed: seed, types)
        let resolver = Resolver(configuration: configuration, authority: authority, upstream: upstream)
        let queries = types.map { query("api.example.com", $0, edns: EDNS(payloadSize: 1232)) }
        var (withRecords, failed) = (0, 0)
        var flaws: [String: Int] = [:]
        for index in 0..<50_000 {
            await breathe(index)
            authority.clear()
            let answer = try #require(await resolver.answer(queries[index % types.count], from: FakeAuthority.one))
            if let flaw = Self.flaw(answer, limit: 1232, opened: authority.opened) { flaws[flaw, default: 0] += 1 }
            if answer[6...7] != [0, 0] { withRecords += 1 }
            if answer[3] & 0xf == 2 { failed += 1 }
        }
        #expect(flaws.isEmpty)
        #expect(withRecords > 5_000 && failed > 5_000, "\(withRecords), \(failed)")
    }

    /// Lets tests that wait for the network have their turn.
    private func breathe(_ index: Int) async {
        if index % 64 == 0 { await Task.yield() }
    }

    /// The costliest messages there are: names at the end of long chains of pointers, as often as fits.
    @Test func theWorstMessageTakesLittleTime() {
        // 126 pointers, each to the one before, then records whose names point to the last.
        var bytes: [UInt8] = [0, 1, 0, 0, 0, 127, 0xff, 0xff, 0, 0, 0, 0, 1, 0x61, 0, 0, 1, 0, 1]
        for index in 0..<126 {
            let target = index == 0 ? 12 : 19 + (index - 1) * 6
            bytes += [0xc0 | UInt8(target >> 8), UInt8(target & 0xff), 0, 1, 0, 1]
        }
        let last = bytes.count - 6
        var records = 0
        while bytes.count + 12 <= DNSMessage.longest {
            bytes += [0xc0 | UInt8(last >> 8), UInt8(last & 0xff), 0, 16, 0, 1, 0, 0, 0, 0, 0, 0]
            records += 1
        }
        bytes[6] = UInt8(records >> 8)
        bytes[7] = UInt8(records & 0xff)
        let took = ContinuousClock().measure {
            #expect((try? DNSMessage(decoding: bytes))?.answers.count == records)
        }
        #expect(took < .seconds(2), "\(took)")
    }
}

/// Keeps nothing but the addresses that were opened last.
private final class QuietAuthority: ResolverAuthority {
    private let addresses = Mutex<[IPAddress]>([])

    var opened: [IPAddress] { addresses.withLock { $0 } }
    func clear() { addresses.withLock { $0 = [] } }

    func client(at address: IPAddress) -> ResolverClient? { ResolverClient(slot: 1, epoch: 1) }
    func isPresent(_ client: ResolverClient) -> Bool { true }
    func decide(_ name: String, for client: ResolverClient) -> NameDecision {
        name.hasSuffix("example.com") ? .allowed(rules: [0], anywhere: false) : .notAllowed
    }
    func mayAnswer(_ address: IPAddress, for client: ResolverClient) -> Bool {
        !FakeAuthority.reserved.contains { $0.contains(address) }
    }
    func pin(_ addresses: [IPAddress], name: String, rules: [Int], seconds: UInt32, for client: ResolverClient) throws {
        self.addresses.withLock { $0 += addresses }
    }
    func report(_ query: DNSReport, for client: ResolverClient) {}
    func budget(for client: ResolverClient) -> UInt64? { nil }
}

/// Says to every question what can still be read of a broken answer.
private final class HostileUpstream: UpstreamResolver {
    private let messages: Mutex<[DNSRecordType: HostileMessages]>

    init(seed: UInt64, _ types: [DNSRecordType]) {
        var messages: [DNSRecordType: HostileMessages] = [:]
        for type in types { messages[type] = HostileMessages(seed: seed, good: HostileMessages.answers(type)) }
        self.messages = Mutex(messages)
    }

    func resolve(_ question: DNSQuestion) async throws(UpstreamError) -> DNSMessage {
        let bytes = messages.withLock { $0[question.type]?.next() ?? [] }
        guard let message = try? DNSMessage(decoding: bytes) else { throw .garbled }
        return message
    }
}
