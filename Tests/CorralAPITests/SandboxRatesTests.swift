import CorralAPI
import Testing

@Suite struct SandboxRatesTests {
    private func stats(_ id: String, second: Int, cpu: UInt64, _ counters: UInt64) -> SandboxStats {
        SandboxStats(
            id: id, name: id, state: .running, time: "2026-11-24T05:12:0\(second).000000000Z", cpuNs: cpu,
            memoryBytes: 0, processes: 1,
            counters: Sandbox.Counters(
                allowed: 0, denied: counters, packetsOut: 0, bytesOut: counters * 2, packetsIn: 0,
                bytesIn: counters * 3,
                events: counters * 4, eventsLost: 0, connections: 0, throttled: 0, exhausted: 0))
    }

    @Test func ratesAreThoseOfTheTimeBetween() throws {
        let rates = try #require(
            SandboxRates(
                from: stats("sb-1", second: 1, cpu: 500_000_000, 10),
                to: stats("sb-1", second: 3, cpu: 1_500_000_000, 30)))
        #expect(rates.cpuPercent == 50)
        #expect(rates.denials == 10)
        #expect(rates.sent == 20)
        #expect(rates.received == 30)
        #expect(rates.events == 40)
    }

    @Test func thereAreNoneWithoutTimeOrOfAnother() throws {
        let now = stats("sb-1", second: 3, cpu: 1, 1)
        #expect(SandboxRates(from: now, to: now) == nil)
        #expect(SandboxRates(from: stats("sb-2", second: 1, cpu: 0, 0), to: now) == nil)
        // A slot's counters that began anew.
        let rates = try #require(SandboxRates(from: stats("sb-1", second: 1, cpu: 9, 9), to: now))
        #expect(rates.cpuPercent == 0 && rates.denials == 0)
    }
}
