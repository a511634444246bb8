internal import Synchronization

/// How often an address may come without a valid key: `burst` times, then once in `secondsPerAttempt`.
final class FailedAttempts: Sendable {
    static let burst = 20
    static let secondsPerAttempt = 6
    /// Addresses that are remembered.
    static let mostAddresses = 4096

    private struct Entry {
        /// Attempts that are not forgiven yet.
        var count: Double
        var at: ContinuousClock.Instant

        func left(_ now: ContinuousClock.Instant) -> Double {
            max(0, count - (now - at) / .seconds(FailedAttempts.secondsPerAttempt))
        }
    }

    private let entries = Mutex<[String: Entry]>([:])

    /// False: too often.
    func count(from address: String, at now: ContinuousClock.Instant = .now) -> Bool {
        entries.withLock { entries in
            let left = entries[address]?.left(now) ?? 0
            guard left + 1 <= Double(Self.burst) else { return false }
            if entries[address] == nil, entries.count >= Self.mostAddresses {
                entries = entries.filter { $0.value.left(now) > 0 }
                // So many at once: whoever is new waits until one is forgiven.
                guard entries.count < Self.mostAddresses else { return false }
            }
            entries[address] = Entry(count: left + 1, at: now)
            return true
        }
    }
}
