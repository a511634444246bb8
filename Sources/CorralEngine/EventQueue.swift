internal import CorralEvents
internal import CorralKernel
internal import NIOCore
internal import Synchronization

/// Records of calls as they came out of the ring, for a reader that renders them itself.
struct RecordBatch: Sendable {
    /// Sandboxes that the reader does not know yet.
    var sources: [TraceSource] = []
    /// A whole frame.
    var frame: ByteBuffer
    /// What it takes of the queue, by sandbox.
    var units: [(sandbox: SandboxReference, units: Int)]
    /// Records that found no room.
    var lost: [(sandbox: SandboxReference, count: UInt64)] = []

    /// A record of up to 256 bytes takes the place of one event; a larger one that of several.
    static func units(of bytes: Int) -> Int { (bytes + 255) / 256 }
}

/// Events on their way to one reader, bounded. What a trace tells may fill a part of it only, so that no flood of calls
/// keeps a decision out, or makes it wait long; and of that part, no sandbox gets more than is left to the others.
///
/// What a reader loses is counted by sandbox, and told before the next event of that sandbox, or once the reader has caught up.
/// Who has lost something gets in again when there is some room, not for each place that becomes free: so losses are told
/// seldom, however long a flood lasts.
final class EventQueue: Sendable {
    enum Item: Sendable {
        case event(Event)
        case records(RecordBatch)
    }

    private struct State {
        /// Those from `first` on are still to be read.
        var items: [Item] = []
        var first = 0
        /// What waits, in events or units of records; what of it is bulk, in all and by sandbox.
        var count = 0
        var bulk = 0
        var held: [String: Int] = [:]
        var lost: [SandboxReference?: UInt64] = [:]
        /// Sandboxes whose bulk is kept out until there is room for more than one.
        var shut: Set<String> = []
        var isShut = false
        var isFinished = false
        var reader: CheckedContinuation<Void, Never>?

        mutating func put(_ item: Item) {
            items.append(item)
        }

        /// What a sandbox has lost goes before what it gets in.
        mutating func tellLoss(of sandbox: SandboxReference?, at time: Int64) {
            guard !lost.isEmpty, let count = lost.removeValue(forKey: sandbox) else { return }
            put(
                .event(
                    Event(time: time, seq: 0, sandbox: sandbox, body: .lost(Loss(count: count, place: .reader)))))
            self.count += 1
        }

        mutating func take() -> Item? {
            if first == items.count, !lost.isEmpty {
                let now = Clock.realtime()
                for sandbox in lost.keys { tellLoss(of: sandbox, at: now) }
            }
            guard first < items.count else { return nil }
            let item = items[first]
            first += 1
            // Moved rarely, so that each is moved once on average.
            if first == items.count || first > 4096 && first * 2 > items.count {
                items.removeFirst(first)
                first = 0
            }
            switch item {
            case .event(let event):
                count -= 1
                if event.isBulk { letGo(1, of: event.sandbox?.id ?? "") }
            case .records(let batch):
                for (sandbox, number) in batch.units {
                    count -= number
                    letGo(number, of: sandbox.id)
                }
            }
            return item
        }

        private mutating func letGo(_ number: Int, of sandbox: String) {
            bulk -= number
            let rest = (held[sandbox] ?? 0) - number
            held[sandbox] = rest > 0 ? rest : nil
        }

        mutating func takeReader() -> CheckedContinuation<Void, Never>? {
            defer { reader = nil }
            return reader
        }
    }

    private let capacity: Int
    private let bulkCapacity: Int
    private let state = Mutex(State())

    init(capacity: Int) {
        self.capacity = capacity
        bulkCapacity = capacity / 2
    }

    /// How many events of bulk a sandbox may add: no more than it leaves to others.
    private func room(for sandbox: String, _ state: inout State) -> Int {
        let held = state.held[sandbox] ?? 0
        if state.shut.contains(sandbox) {
            guard held <= bulkCapacity / 8 else { return 0 }
            state.shut.remove(sandbox)
        }
        let free = min((bulkCapacity - state.bulk - held + 1) / 2, capacity - state.count)
        if free <= 0 { state.shut.insert(sandbox) }
        return max(0, free)
    }

    /// False when there is no room: the event is lost to this reader, and counted.
    func add(_ event: Event) -> Bool {
        let (isTaken, reader) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
            guard !state.isFinished else { return (false, nil) }
            let isBulk = event.isBulk
            let id = event.sandbox?.id ?? ""
            if isBulk {
                guard room(for: id, &state) > 0 else {
                    state.lost[event.sandbox, default: 0] += 1
                    return (false, nil)
                }
                state.bulk += 1
                state.held[id, default: 0] += 1
            } else {
                let limit = state.isShut ? max(1, capacity - capacity / 8) : capacity
                state.isShut = state.count >= limit
                guard !state.isShut else {
                    state.lost[event.sandbox, default: 0] += 1
                    return (false, nil)
                }
            }
            state.tellLoss(of: event.sandbox, at: event.time)
            state.put(.event(event))
            state.count += 1
            return (true, state.takeReader())
        }
        reader?.resume()
        return isTaken
    }

    /// How much of a sandbox's records `add` takes now, in units.
    func room(for sandbox: SandboxReference) -> Int {
        state.withLock { $0.isFinished ? 0 : room(for: sandbox.id, &$0) }
    }

    /// Takes what it has said that there is room for.
    func add(_ batch: RecordBatch) {
        let reader = state.withLock { state -> CheckedContinuation<Void, Never>? in
            guard !state.isFinished else { return nil }
            let now = Clock.realtime()
            for (sandbox, count) in batch.units {
                state.tellLoss(of: sandbox, at: now)
                state.count += count
                state.bulk += count
                state.held[sandbox.id, default: 0] += count
            }
            for (sandbox, count) in batch.lost {
                state.lost[sandbox, default: 0] += count
                state.shut.insert(sandbox.id)
            }
            if !batch.units.isEmpty { state.put(.records(batch)) }
            return state.takeReader()
        }
        reader?.resume()
    }

    /// What is in the queue can still be read.
    func finish() {
        state.withLock { state in
            state.isFinished = true
            return state.takeReader()
        }?.resume()
    }

    /// Waits; nil at the end, or once the task is cancelled. For one reader, who asked for no records.
    func next() async -> Event? {
        while let items = await next(atMost: 1) {
            for case .event(let event) in items { return event }
        }
        return nil
    }

    /// Waits for at least one; nil at the end, or once the task is cancelled. For one reader.
    func next(atMost number: Int) async -> [Item]? {
        while true {
            let (items, isOver) = state.withLock { state in
                var items: [Item] = []
                while items.count < number, let item = state.take() { items.append(item) }
                return (items, state.isFinished)
            }
            if !items.isEmpty { return items }
            if isOver || Task.isCancelled { return nil }
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isReady = state.withLock { state in
                        if state.first < state.items.count || !state.lost.isEmpty || state.isFinished
                            || Task.isCancelled
                        {
                            return true
                        }
                        state.reader = continuation
                        return false
                    }
                    if isReady { continuation.resume() }
                }
            } onCancel: {
                state.withLock { $0.takeReader() }?.resume()
            }
        }
    }
}

/// A reader's hold on its queue; `onEnd` is called when it lets go.
final class Subscription: Sendable {
    let queue: EventQueue
    private let onEnd: @Sendable () -> Void

    init(_ queue: EventQueue, onEnd: @escaping @Sendable () -> Void) {
        self.queue = queue
        self.onEnd = onEnd
    }

    deinit {
        onEnd()
    }
}

extension Event {
    /// Told in numbers that a sandbox decides: calls and processes.
    var isBulk: Bool {
        switch type {
        case .syscall, .process: true
        default: false
        }
    }
}
