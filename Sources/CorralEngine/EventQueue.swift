internal import CorralEvents
internal import Synchronization

/// Events on their way to one reader, bounded. What a trace tells may fill a part of it only, so that no flood of calls
/// keeps a decision out, or makes it wait long.
final class EventQueue: Sendable {
    private struct State: Sendable {
        /// Those from `first` on are still to be read.
        var events: [Event] = []
        var first = 0
        var isFinished = false
        var reader: CheckedContinuation<Void, Never>?

        var count: Int { events.count - first }

        mutating func take() -> Event? {
            guard first < events.count else { return nil }
            let event = events[first]
            first += 1
            // Moved rarely, so that each is moved once on average.
            if first == events.count || first > 4096 && first * 2 > events.count {
                events.removeFirst(first)
                first = 0
            }
            return event
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
        bulkCapacity = capacity / 4
    }

    /// Adds both, or neither and returns false when there is no room.
    func add(_ event: Event, after notice: Event? = nil) -> Bool {
        let limit = event.isBulk ? bulkCapacity : capacity
        let (isTaken, reader) = state.withLock { state -> (Bool, CheckedContinuation<Void, Never>?) in
            guard !state.isFinished, state.count < limit else { return (false, nil) }
            if let notice { state.events.append(notice) }
            state.events.append(event)
            return (true, state.takeReader())
        }
        reader?.resume()
        return isTaken
    }

    /// What is in the queue can still be read.
    func finish() {
        state.withLock { state in
            state.isFinished = true
            return state.takeReader()
        }?.resume()
    }

    /// Waits; nil at the end, or once the task is cancelled. For one reader.
    func next() async -> Event? {
        while true {
            let (event, isOver) = state.withLock { ($0.take(), $0.isFinished) }
            if let event { return event }
            if isOver || Task.isCancelled { return nil }
            await withTaskCancellationHandler {
                await withCheckedContinuation { continuation in
                    let isReady = state.withLock { state in
                        if state.count > 0 || state.isFinished || Task.isCancelled { return true }
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
