public import CorralEvents
public import NIOCore

/// Past events, then frames of those that come; see `EventFeed`.
public struct FrameFeed: Sendable {
    public var past: (@Sendable () async -> [UInt8]?)?
    public var live: EventFrames

    public init(past: (@Sendable () async -> [UInt8]?)? = nil, live: EventFrames) {
        self.past = past
        self.live = live
    }
}

/// Events to one reader that renders records of calls itself, as `EventFrame` describes them.
public final class EventFrames: Sendable {
    /// Bytes of lines that are put into one frame.
    private static let lineBytes = 64 << 10
    /// What is taken out of the queue at once: 1 MiB of records. What waits here, nothing overtakes.
    private static let units = 4096

    private let subscription: Subscription
    /// What has to live as long as this.
    private let kept: (any Sendable)?

    init(_ subscription: Subscription, keeping kept: (any Sendable)? = nil) {
        self.subscription = subscription
        self.kept = kept
    }

    /// Without any event: for tests of what reads this.
    public static var empty: EventFrames {
        let queue = EventQueue(capacity: 1)
        queue.finish()
        return EventFrames(Subscription(queue) {})
    }

    /// Whole frames, as many as wait, but no more than some hundred KiB; nil at the end.
    public func next() async -> [ByteBuffer]? {
        guard let items = await subscription.queue.next(units: Self.units) else { return nil }
        var frames: [ByteBuffer] = []
        var lines: [UInt8] = []
        func endLines() {
            guard !lines.isEmpty else { return }
            frames.append(Self.frame(.lines, lines))
            lines.removeAll(keepingCapacity: true)
        }
        for item in items {
            switch item {
            case .event(let event):
                event.appendJSONLine(to: &lines)
                if lines.count >= Self.lineBytes { endLines() }
            case .records(let batch):
                endLines()
                for source in batch.sources { frames.append(Self.frame(.source, source.json)) }
                frames.append(batch.frame)
            }
        }
        endLines()
        return frames
    }

    public static func frame(_ kind: EventFrame.Kind, _ payload: [UInt8]) -> ByteBuffer {
        var buffer = ByteBuffer()
        buffer.reserveCapacity(payload.count + EventFrame.headBytes)
        buffer.writeBytes(EventFrame.head(kind, length: payload.count))
        buffer.writeBytes(payload)
        return buffer
    }
}
