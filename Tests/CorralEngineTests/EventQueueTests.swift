import CorralPolicy
import Testing

@testable import CorralEngine
@testable import CorralEvents

@Suite struct EventQueueTests {
    private static let process = ProcessReference(
        pid: 7, hostPid: 70, ppid: 1, uid: 0, comm: "a", exe: nil, execID: "x")

    private func call(_ seq: UInt64) -> Event {
        let call = Syscall(
            thread: 7, process: Self.process, name: "getppid", abi: .amd64, arguments: [], outcome: .returned(1))
        return Event(time: 0, seq: seq, sandbox: SandboxReference(id: "sb-1", name: "a"), body: .syscall(call))
    }

    private func denial(_ seq: UInt64) -> Event {
        Event(
            time: 0, seq: seq, sandbox: SandboxReference(id: "sb-2", name: "b"),
            body: .egress(Traffic(verdict: .deny, reason: .noMatchingRule)))
    }

    @Test func aFloodOfCallsLeavesRoomForDecisions() async {
        let queue = EventQueue(capacity: 400)
        var taken = 0
        for seq in 1...1000 where queue.add(call(UInt64(seq))) { taken += 1 }
        #expect(taken == 100)
        for seq in 1...300 { #expect(queue.add(denial(UInt64(seq)))) }
        #expect(!queue.add(denial(301)))
        queue.finish()
        var events: [Event] = []
        while let event = await queue.next() { events.append(event) }
        #expect(events.prefix(100).map(\.seq) == Array(1...100))
        #expect(events.suffix(300).map(\.seq) == Array(1...300))
        #expect(events.count == 400)
    }

    @Test func eventsComeInOrderWhileOthersAreAdded() async {
        let queue = EventQueue(capacity: 100_000)
        let reading = Task {
            var numbers: [UInt64] = []
            while let event = await queue.next() { numbers.append(event.seq) }
            return numbers
        }
        for seq in 1...20_000 { #expect(queue.add(denial(UInt64(seq)))) }
        queue.finish()
        #expect(await reading.value == Array(1...20_000))
        #expect(!queue.add(denial(1)))
    }

    @Test func aReaderThatIsCancelledDoesNotWait() async {
        let queue = EventQueue(capacity: 10)
        let reading = Task { await queue.next() }
        reading.cancel()
        #expect(await reading.value == nil)
    }

    /// What is lost to one reader is told before the next event that it gets, and is exactly what is missing.
    @Test func whatAReaderMissesIsCounted() async {
        let hub = EventHub()
        let subscription = hub.open(EventFilter(), buffer: 400)
        for seq in 1...1000 { hub.publish(call(UInt64(seq))) }
        hub.publish(denial(1))
        hub.finish()
        var seen = 0
        var lost: UInt64 = 0
        var last: Event?
        while let event = await subscription.queue.next() {
            if case .lost(let loss) = event.body { lost += loss.count } else { seen += 1 }
            last = event
        }
        #expect(seen == 101)
        #expect(lost == 900)
        #expect(last?.type == .egress)
    }

    @Test func aSubscriptionEndsWithItsReader() {
        let hub = EventHub()
        do {
            let subscription = hub.open(EventFilter(), buffer: 10)
            hub.publish(denial(1))
            #expect(hub.statistics.delivered == 1)
            withExtendedLifetime(subscription) {}
        }
        hub.publish(denial(2))
        #expect(hub.statistics.delivered == 1)
    }
}
