internal import CorralEvents

/// Answers that one sandbox has had. Nothing here is shared between sandboxes: how fast an answer comes must not tell one what
/// another asked.
struct AnswerCache: Sendable {
    struct Limits: Sendable, Equatable {
        var entries = 256
        /// Estimated, of all entries.
        var bytes = 65_536
        /// How long a failure to resolve is remembered (RFC 9520 asks for a second at least).
        var failure: Duration = .seconds(2)
    }

    struct Key: Sendable, Hashable {
        var name: DNSName
        var type: DNSRecordType
    }

    enum Content: Sendable, Equatable {
        case answer(ResolvedAnswer)
        /// Name servers did not answer, or made no sense.
        case failure
    }

    private struct Entry: Sendable {
        var content: Content
        var expires: ContinuousClock.Instant
        var cost: Int
    }

    private let limits: Limits
    private var entries: [Key: Entry] = [:]
    private var cost = 0

    init(limits: Limits) {
        self.limits = limits
    }

    var count: Int { entries.count }

    /// What is known, and the seconds that it still holds, 1 or more.
    func content(for key: Key, at now: ContinuousClock.Instant) -> (content: Content, seconds: UInt32)? {
        guard let entry = entries[key], entry.expires > now else { return nil }
        let left = now.duration(to: entry.expires).components
        return (entry.content, UInt32(clamping: max(1, left.seconds)))
    }

    mutating func insert(
        _ content: Content, for key: Key, lasting duration: Duration, at now: ContinuousClock.Instant
    ) {
        remove(key)
        let entry = Entry(content: content, expires: now.advanced(by: duration), cost: content.cost)
        guard entry.cost <= limits.bytes, limits.entries > 0, duration > .zero else { return }
        if entries.count >= limits.entries || cost + entry.cost > limits.bytes {
            for (key, old) in entries where old.expires <= now { remove(key) }
        }
        while entries.count >= limits.entries || cost + entry.cost > limits.bytes {
            guard let soonest = entries.min(by: { $0.value.expires < $1.value.expires }) else { break }
            remove(soonest.key)
        }
        entries[key] = entry
        cost += entry.cost
    }

    private mutating func remove(_ key: Key) {
        if let old = entries.removeValue(forKey: key) { cost -= old.cost }
    }
}

extension AnswerCache.Content {
    /// Bytes, roughly: what the records hold, and what holding them takes.
    fileprivate var cost: Int {
        switch self {
        case .failure: 128
        case .answer(let answer):
            (answer.records + [answer.authority].compactMap { $0 }).reduce(256) { $0 + 160 + $1.dataSize }
        }
    }
}

extension DNSRecord {
    fileprivate var dataSize: Int {
        let data =
            switch data {
            case .ipv4, .ipv6: 0
            case .name(let name): name.wire.count
            case .prefixedName(let prefix, let name, _): prefix.count + name.wire.count
            case .authority(let authority): authority.server.wire.count + authority.mailbox.wire.count + 64
            case .service(let binding):
                binding.parameters.reduce(binding.target.wire.count) { $0 + 48 + $1.value.count }
            case .opaque(let octets): octets.count
            }
        return name.wire.count + data
    }
}
