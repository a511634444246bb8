import CorralEvents
import Testing

@testable import CorralEngine

@Suite struct EventHubTests {
    private static func event(_ seq: UInt64) -> Event {
        Event(
            time: Int64(seq), seq: seq, sandbox: SandboxReference(id: "sb-1", name: "a"),
            body: .sandbox(.claimed))
    }

    /// A reader that does not read loses the newest, is told how many, and holds up nobody.
    @Test func aSlowReaderIsToldWhatItLostAndAnotherLosesNothing() async throws {
        let hub = EventHub()
        let slow = hub.subscribe(EventFilter(), buffer: 2)
        let quick = hub.subscribe(EventFilter(), buffer: 100)
        for seq in 1...5 as ClosedRange<UInt64> { hub.publish(Self.event(seq)) }
        var slowly = slow.makeAsyncIterator()
        #expect(await slowly.next()?.seq == 1)
        #expect(await slowly.next()?.seq == 2)
        // There is room again, for the notice and for what comes after it.
        hub.publish(Self.event(6))
        #expect(await slowly.next()?.body == .lost(Loss(count: 3, place: .reader)))
        #expect(await slowly.next()?.seq == 6)
        hub.finish()
        #expect(await slowly.next() == nil)
        var seen: [UInt64] = []
        for await event in quick { seen.append(event.seq) }
        #expect(seen == [1, 2, 3, 4, 5, 6])
    }

    @Test func aReaderThatLeavesIsForgotten() async throws {
        let hub = EventHub()
        let task = Task {
            for await _ in hub.subscribe(EventFilter(), buffer: 1) {}
        }
        task.cancel()
        await task.value
        hub.publish(Self.event(1))
        let reader = hub.subscribe(EventFilter(), buffer: 1)
        hub.publish(Self.event(2))
        hub.finish()
        var seen: [UInt64] = []
        for await event in reader { seen.append(event.seq) }
        #expect(seen == [2])
    }
}
