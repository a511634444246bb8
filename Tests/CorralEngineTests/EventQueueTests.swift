import CorralPolicy
import Testing

@testable import CorralEngine
@testable import CorralEvents

@Suite struct EventQueueTests {
    private static let process = ProcessReference(
        pid: 7, hostPid: 70, ppid: 1, uid: 0, comm: "a", exe: nil, execID: "x")

    private func call(_ seq: UInt64, of sandbox: String = "sb-1") -> Event {
        let call = Syscall(
            thread: 7, process: Self.process, name: "getppid", abi: .amd64, arguments: [], outcome: .returned(1))
        return Event(time: 0, seq: seq, sandbox: SandboxReference(id: sandbox, name: "a"), body: .syscall(call))
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
        #expect(
            Set(events.suffix(2).map { "\($0.sandbox?.id ?? "") \($0.body)" })
                == [
                    "sb-1 lost(CorralEvents.Loss(count: 900, place: CorralEvents.Loss.Place.reader))",
                    "sb-2 lost(CorralEvents.Loss(count: 1, place: CorralEvents.Loss.Place.reader))",
                ])
        events.removeLast(2)
        // Those of the other sandbox overtake the flood, in their order.
        #expect(events.prefix(300).map(\.seq) == Array(1...300))
        #expect(events.suffix(100).map(\.seq) == Array(1...100))
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
            if case .lost(let loss) = event.body {
                #expect(event.sandbox?.id == "sb-1")
                lost += loss.count
            } else {
                seen += 1
            }
            last = event
        }
        #expect(seen == 101)
        #expect(lost == 900)
        // The one that lost nothing is told of no loss; the other of its own, at the end at the latest.
        #expect(last?.type == .lost)
    }

    /// However many sandboxes flood it, there is room for one more; and what each loses is told as its own.
    @Test func noSandboxTakesAllThatIsLeft() async {
        let queue = EventQueue(capacity: 1600)
        var taken: [String: Int] = [:]
        for flooder in ["sb-1", "sb-2", "sb-3"] {
            for seq in 1...1000 where queue.add(call(UInt64(seq), of: flooder)) { taken[flooder, default: 0] += 1 }
        }
        #expect(taken["sb-1"] == 400)
        #expect((taken["sb-3"] ?? 0) > 50)
        #expect(queue.add(call(1, of: "sb-4")))
        queue.finish()
        var lost: [String: UInt64] = [:]
        var notices = 0
        while let event = await queue.next() {
            guard case .lost(let loss) = event.body, let id = event.sandbox?.id else { continue }
            lost[id, default: 0] += loss.count
            notices += 1
        }
        #expect(notices == 3)
        for flooder in ["sb-1", "sb-2", "sb-3"] { #expect(lost[flooder] == UInt64(1000 - (taken[flooder] ?? 0))) }
    }

    /// A flood that outruns its reader for ever is told of in few notices, and exactly.
    @Test func lossesAreToldSeldomAndExactly() async {
        let queue = EventQueue(capacity: 800)
        var seen: UInt64 = 0
        var lost: UInt64 = 0
        var notices = 0
        func take() async {
            guard let event = await queue.next() else { return }
            if case .lost(let loss) = event.body {
                lost += loss.count
                notices += 1
            } else {
                seen += 1
            }
        }
        for seq in 1...20_000 {
            _ = queue.add(call(UInt64(seq)))
            if seq % 4 == 0 { await take() }
        }
        queue.finish()
        for _ in 0..<1000 { await take() }
        #expect(seen + lost == 20_000)
        #expect(lost > 10_000)
        #expect(notices < 60, "\(notices)")
    }

    /// Whatever overtakes what.
    @Test func eachSandboxStaysInItsOrder() async {
        let queue = EventQueue(capacity: 10_000)
        var next: [String: UInt64] = [:]
        var random = SystemRandomNumberGenerator()
        var last: [String: UInt64] = [:]
        func take(_ event: Event) {
            let id = event.sandbox?.id ?? ""
            #expect(event.seq == (last[id] ?? 0) + 1)
            last[id] = event.seq
        }
        for _ in 0..<3000 {
            let id = "sb-\(Int.random(in: 1...3, using: &random))"
            next[id, default: 0] += 1
            var event = call(next[id] ?? 0, of: id)
            if Bool.random(using: &random) {
                event.body = .egress(Traffic(verdict: .deny, reason: .noMatchingRule))
            }
            #expect(queue.add(event))
            if Int.random(in: 0..<3, using: &random) == 0, let event = await queue.next() { take(event) }
        }
        queue.finish()
        while let event = await queue.next() { take(event) }
        #expect(last == next)
    }

    @Test func recordsTakeTheirPlaceAndTheirLossesAreCounted() async throws {
        let queue = EventQueue(capacity: 400)
        let sandbox = SandboxReference(id: "sb-1", name: "a")
        #expect(queue.room(for: sandbox) == 100)
        queue.add(
            RecordBatch(
                frame: EventFrames.frame(.records, [1, 2]), units: [(sandbox, 60)], lost: [(sandbox, 7)]))
        #expect(!queue.add(call(1)))
        #expect(queue.room(for: sandbox) == 0)
        #expect(queue.add(denial(1)))
        let items = try #require(await queue.next(units: 1000))
        #expect(items.count == 3)
        guard case .event(let second) = items[0], case .records = items[1], case .event(let third) = items[2] else {
            Issue.record("\(items)")
            return
        }
        #expect(second.type == .egress)
        #expect(third.body == .lost(Loss(count: 8, place: .reader)))
        #expect(queue.room(for: sandbox) == 100)
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
