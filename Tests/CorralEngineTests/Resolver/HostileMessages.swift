import CorralEvents
import CorralPolicy

@testable import CorralEngine

/// Messages that nobody honest sends: noise, broken copies of good ones, and ones built from the pieces of the format in the wrong
/// order. Repeats for a seed.
struct HostileMessages {
    private var random: SeededRandom
    private let good: [[UInt8]]
    private let read: [DNSMessage]
    private let records: [DNSRecord]

    init(seed: UInt64, good: [[UInt8]]) {
        random = SeededRandom(state: seed)
        self.good = good
        read = good.compactMap { try? DNSMessage(decoding: $0) }
        records = read.flatMap { $0.answers + $0.authorities }
    }

    mutating func next() -> [UInt8] {
        switch below(10) {
        case 0: below(2) == 0 ? noise(below(600)) : header() + noise(below(200))
        case 1: built()
        case 2: spliced()
        case 3...5: mutated(good[below(good.count)])
        case 6: mutated(rearranged())
        default: rearranged()
        }
    }

    private mutating func below(_ bound: Int) -> Int { Int(random.next() % UInt64(bound)) }
    private mutating func octet() -> UInt8 { UInt8(truncatingIfNeeded: random.next()) }
    private mutating func noise(_ count: Int) -> [UInt8] { (0..<count).map { _ in octet() } }

    private mutating func header() -> [UInt8] {
        [0x12, 0x34, below(2) == 0 ? 0x01 : octet(), below(2) == 0 ? 0 : octet()]
            + (0..<4).flatMap { _ in [below(20) == 0 ? octet() : 0, UInt8(below(4))] }
    }

    private mutating func mutated(_ message: [UInt8]) -> [UInt8] {
        var bytes = message
        for _ in 0..<(below(3) == 0 ? 1 + below(5) : 1) {
            guard !bytes.isEmpty else { return bytes }
            let place = below(bytes.count)
            switch below(8) {
            case 0: bytes[place] ^= 1 << UInt8(below(8))
            case 1: bytes[place] = octet()
            case 2: bytes[place] = [0, 1, 0x3f, 0x40, 0x80, 0xc0, 0xff][below(7)]
            case 3: bytes.insert(octet(), at: place)
            case 4: bytes.remove(at: place)
            case 5: bytes.removeLast(below(bytes.count))
            case 6:
                // A pointer.
                bytes[place] = 0xc0 | UInt8(below(2))
                if place + 1 < bytes.count { bytes[place + 1] = octet() }
            default: bytes += bytes[place...]
            }
        }
        return bytes
    }

    private mutating func spliced() -> [UInt8] {
        let (a, b) = (good[below(good.count)], good[below(good.count)])
        return Array(a.prefix(below(a.count + 1))) + Array(b.suffix(below(b.count + 1)))
    }

    /// Whole messages that say what none should: the good ones' records under each other's names, in any number and order.
    private mutating func rearranged() -> [UInt8] {
        var message = read[below(read.count)]
        guard !records.isEmpty else {
            message.questions = [
                DNSQuestion(name: owner(), type: DNSRecordType(rawValue: UInt16([1, 28, 65, 16][below(4)])))
            ]
            if below(4) == 0 {
                message.edns = EDNS(payloadSize: UInt16(truncatingIfNeeded: random.next()), version: UInt8(below(2)))
            }
            return message.encoded()
        }
        func pick() -> DNSRecord {
            var record = records[below(records.count)]
            if below(2) == 0 { record.name = owner() }
            if record.type == .cname, below(2) == 0 { record.data = .name(owner()) }
            if below(10) == 0 { record.ttl = UInt32(truncatingIfNeeded: random.next()) >> 1 }
            return record
        }
        message.answers = (0..<below(10)).map { _ in pick() }
        message.authorities = (0..<below(3)).map { _ in pick() }
        message.additionals = (0..<below(3)).map { _ in pick() }
        if below(10) == 0 { message.responseCode = DNSResponseCode(rawValue: UInt16(below(20))) }
        return message.encoded()
    }

    private mutating func owner() -> DNSName {
        .literal(
            ["api.example.com", "API.example.COM", "x.test", "cdn.test", "big.example.com", "evil.example"][below(6)])
    }

    private mutating func name() -> [UInt8] {
        var name: [UInt8] = []
        for _ in 0..<below(6) {
            switch below(12) {
            case 0: return name + [0xc0 | UInt8(below(3)), octet()]
            case 1: return name + [0xc0, 12]
            case 2: name += [63] + noise(63)
            case 3: name += [UInt8(below(256))]
            default: name += [1, UInt8(0x61 + below(3))]
            }
        }
        return below(20) == 0 ? name : name + [0]
    }

    private mutating func built() -> [UInt8] {
        var bytes = header()
        for _ in 0..<below(3) { bytes += name() + [0, UInt8(below(70)), 0, UInt8(below(3))] }
        for _ in 0..<below(5) {
            let type = [1, 2, 5, 6, 12, 15, 16, 28, 33, 35, 39, 41, 64, 65, 99][below(15)]
            let data =
                below(3) == 0
                ? noise(below(40)) : noise([0, 2, 4, 6, 16][below(5)]) + name() + noise([0, 0, 4, 20][below(4)])
            bytes += name() + [0, UInt8(type), 0, 1] + noise(4)
            bytes += below(10) == 0 ? noise(2) : [UInt8(data.count >> 8), UInt8(data.count & 0xff)]
            bytes += data
        }
        return bytes
    }
}

extension HostileMessages {
    static let queries: [[UInt8]] = [
        query("api.example.com", id: 0x1234), query("API.example.com", .aaaa, edns: EDNS(payloadSize: 1232)),
        query("evil.example"), query("a.b.c.d.e.wild.example", .https, edns: EDNS(payloadSize: 4096)),
        query("api.example.com", .any), query("denied.example.com", .txt), query("big.example.com"),
    ]

    /// Answers with all that has to go, to the question for `type` of `api.example.com`.
    static func answers(_ type: DNSRecordType) -> [[UInt8]] {
        let asked = DNSMessage(
            id: 1, flags: DNSFlags(), questions: [DNSQuestion(name: .literal("api.example.com"), type: type)],
            edns: EDNS(payloadSize: 1232))
        let service = DNSRecord(
            name: .literal("cdn.test"), type: .https, ttl: 60,
            data: .service(
                ServiceBinding(
                    priority: 1, target: .literal("svc.test"),
                    parameters: [
                        ServiceBinding.Parameter(key: 0, value: [0, 1]),
                        ServiceBinding.Parameter(key: 1, value: [2, 0x68, 0x32]),
                        ServiceBinding.Parameter(key: 4, value: [203, 0, 113, 7, 10, 0, 0, 1]),
                        ServiceBinding.Parameter(key: 5, value: [1, 2, 3]),
                        ServiceBinding.Parameter(key: 6, value: IPAddress.literal("fd00::1").networkBytes),
                    ])))
        let data: [DNSRecord] = [
            .a("cdn.test", "203.0.113.7"), .a("cdn.test", "10.0.0.1"), .aaaa("cdn.test", "2001:db8::7"),
            .aaaa("cdn.test", "::ffff:127.0.0.1"), .aaaa("cdn.test", "fe80::1"), service,
            DNSRecord(
                name: .literal("cdn.test"), type: .mx, ttl: 60,
                data: .prefixedName([0, 10], .literal("mx.cdn.test"), compressed: true)),
            DNSRecord(name: .literal("cdn.test"), type: .txt, ttl: 60, data: .opaque([3, 0x61, 0x62, 0x63])),
        ]
        let chain: [DNSRecord] = [.cname("api.example.com", "x.test"), .cname("x.test", "cdn.test")]
        return [
            answer(to: asked, chain + data, authorities: [.soa("test")], additionals: [.a("cdn.test", "10.1.1.1")])
                .encoded(),
            answer(
                to: asked,
                data.map { record in
                    var record = record
                    record.name = .literal("api.example.com")
                    return record
                }
            ).encoded(),
            answer(to: asked, [], code: .nameError, authorities: [.soa("example.com")]).encoded(),
        ]
    }
}
