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
/// keeps a decision out; and of that part, no sandbox gets more than is left to the others. Nor does a flood make the decisions of
/// others wait: an event of a sandbox that has nothing else here overtakes what is here of other sandboxes. What is of one
/// sandbox stays in its order.
///
/// What a reader loses is counted by sandbox, and told before the next event of that sandbox, or once the reader has caught up.
/// Who has lost something gets in again when there is some room, not for each place that becomes free: so losses are told
/// seldom, however long a flood lasts.
final class EventQueue: Sendable {
    enum Item: Sendable {
        case event(Event)
        case records(RecordBatch)
    }

    /// First in, first out.
    private struct Line {
        /// Those from `first` on are still to be read.
        private var items: [Item] = []
        private var first = 0

        var isEmpty: Bool { first == items.count }

        mutating func put(_ item: Item) { items.append(item) }

        mutating func take() -> Item? {
            guard first < items.count else { return nil }
            let item = items[first]
            first += 1
            // Moved rarely, so that each is moved once on average.
            if first == items.count || first > 4096 && first * 2 > items.count {
                items.removeFirst(first)
                first = 0
            }
            return item
        }
    }

    private struct State {
        var items = Line()
        /// Of sandboxes that have nothing in `items`; read first.
        var overtaking = Line()
        /// Items in `items`, by sandbox.
        var waiting: [String: Int] = [:]
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

        /// An event; records go behind all that waits.
        mutating func put(_ event: Event) {
            let sandbox = event.sandbox?.id ?? ""
            if !event.isBulk, waiting[sandbox] == nil {
                overtaking.put(.event(event))
            } else {
                items.put(.event(event))
                waiting[sandbox, default: 0] += 1
            }
            count += 1
        }

        mutating func put(_ batch: RecordBatch) {
            items.put(.records(batch))
            for (sandbox, units) in batch.units {
                waiting[sandbox.id, default: 0] += 1
                count += units
                bulk += units
                held[sandbox.id, default: 0] += units
            }
        }

        /// What a sandbox has lost goes before what it gets in.
        mutating func tellLoss(of sandbox: SandboxReference?, at time: Int64) {
            guard !lost.isEmpty, let count = lost.removeValue(forKey: sandbox) else { return }
            put(Event(time: time, seq: 0, sandbox: sandbox, body: .lost(Loss(count: count, place: .reader))))
        }

        var isEmpty: Bool { items.isEmpty && overtaking.isEmpty && lost.isEmpty }

        mutating func take() -> (item: Item, units: Int)? {
            if items.isEmpty, overtaking.isEmpty, !lost.isEmpty {
                let now = Clock.realtime()
                for sandbox in lost.keys { tellLoss(of: sandbox, at: now) }
            }
            if let item = overtaking.take() {
                count -= 1
                return (item, 1)
            }
            guard let item = items.take() else { return nil }
            switch item {
            case .event(let event):
                let sandbox = event.sandbox?.id ?? ""
                count -= 1
                Self.lower(&waiting, sandbox, by: 1)
                if event.isBulk {
                    bulk -= 1
                    Self.lower(&held, sandbox, by: 1)
                }
                return (item, 1)
            case .records(let batch):
                var sum = 0
                for (sandbox, units) in batch.units {
                    sum += units
                    Self.lower(&waiting, sandbox.id, by: 1)
                    Self.lower(&held, sandbox.id, by: units)
                }
                count -= sum
                bulk -= sum
                return (item, sum)
            }
        }

        private static func lower(_ counts: inout [String: Int], _ sandbox: String, by number: Int) {
            let rest = (counts[sandbox] ?? 0) - number
            counts[sandbox] = rest > 0 ? rest : nil
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
            } else {
                let limit = state.isShut ? max(1, capacity - capacity / 8) : capacity
                state.isShut = state.count >= limit
                guard !state.isShut else {
                    state.lost[event.sandbox, default: 0] += 1
                    return (false, nil)
                }
            }
            state.tellLoss(of: event.sandbox, at: event.time)
            state.put(event)
            if isBulk {
                state.bulk += 1
                state.held[id, default: 0] += 1
            }
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
            for (sandbox, _) in batch.units { state.tellLoss(of: sandbox, at: now) }
            if !batch.units.isEmpty { state.put(batch) }
            for (sandbox, count) in batch.lost {
                state.lost[sandbox, default: 0] += count
                state.shut.insert(sandbox.id)
            }
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
        while let items = await next(units: 1) {
            for case .event(let event) in items { return event }
        }
        return nil
    }

    /// Waits for at least one; nil at the end, or once the task is cancelled. For one reader.
    /// - Parameter limit: no more are taken once they are this much together.
    func next(units limit: Int) async -> [Item]? {
        while true {
            let (items, isOver) = state.withLock { state in
                var items: [Item] = []
                var sum = 0
                while sum < limit, let (item, units) = state.take() {
                    items.append(item)
                    sum += units
                }
                return (items, state.isFinished)
            }
            if !items.isEmpty { return items }
            if isOver || Task.isCancelled { return nil }
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isReady = state.withLock { state in
                        if !state.isEmpty || state.isFinished || Task.isCancelled { return true }
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
