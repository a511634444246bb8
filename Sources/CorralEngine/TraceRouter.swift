internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import NIOCore
internal import Synchronization

/// Brings the records of the trace to those who want them. Records of calls are copied for readers that render them
/// themselves, and decoded for others; those that nobody wants are passed over.
///
/// Safety: the trace's reader thread alone uses it; what it shares with others is behind the hub's mutex.
final class TraceRouter: @unchecked Sendable {
    /// What one reader gets of one sandbox.
    private final class Sink {
        let reader: Batch
        let source: TraceSource
        let wanted: EventHub.CallFilter
        /// What may still come in this batch, in units of the queue; nil before the first record.
        var room: Int?
        var units = 0
        var count: UInt64 = 0
        var lost: UInt64 = 0
        var isAnnounced = false

        init(_ reader: Batch, _ source: TraceSource, _ wanted: EventHub.CallFilter) {
            self.reader = reader
            self.source = source
            self.wanted = wanted
        }
    }

    /// What is on its way to one reader.
    private final class Batch {
        let queue: EventQueue
        var frame = ByteBuffer()
        var sinks: [Sink] = []

        init(_ queue: EventQueue) {
            self.queue = queue
        }
    }

    private final class Route {
        let epoch: UInt64
        let context: DecisionContext
        var sinks: [Sink] = []
        /// Somebody wants calls as events.
        let wantsEvents: Bool

        init(epoch: UInt64, context: DecisionContext, wantsEvents: Bool) {
            self.epoch = epoch
            self.context = context
            self.wantsEvents = wantsEvents
        }
    }

    /// Bytes that are handed over in one piece at least.
    private static let frameBytes = 256 << 10
    /// The clock may be set; what is known of it is not older than this many batches.
    private static let clockAge = 64

    private let hub: EventHub
    private var version: UInt64 = .max
    private var routes: [UInt32: Route?] = [:]
    private var batches: [UInt64: Batch] = [:]
    private var lastSlot: UInt32 = .max
    private var lastRoute: Route?
    private var calls: UInt64 = 0
    private var age = 0

    init(_ hub: EventHub) {
        self.hub = hub
    }

    func receive(_ record: WireTrace) {
        guard let route = route(of: record), route.epoch == record.epoch else { return }
        guard record.type == .syscall else {
            // In its place among the calls.
            flush()
            hub.publish(record.event(in: route.context))
            return
        }
        calls &+= 1
        for sink in route.sinks where sink.wanted.includes(record) { copy(record, to: sink) }
        if route.wantsEvents { hub.publish(record.event(in: route.context)) }
    }

    private func copy(_ record: WireTrace, to sink: Sink) {
        let batch = sink.reader
        if sink.room == nil {
            sink.room = batch.queue.room(for: sink.source.context.sandbox)
            batch.sinks.append(sink)
        }
        let size = RecordBatch.units(of: record.record.count)
        guard let room = sink.room, room >= size else {
            sink.lost &+= 1
            return
        }
        sink.room = room - size
        sink.units += size
        sink.count &+= 1
        if batch.frame.readableBytes == 0 { batch.frame.writeRepeatingByte(0, count: EventFrame.headBytes) }
        batch.frame.writeBytes(record.record)
        if batch.frame.readableBytes >= Self.frameBytes { flush(batch) }
    }

    private func route(of record: WireTrace) -> Route? {
        let now = hub.version
        if now != version {
            flush()
            version = now
            routes = [:]
            lastSlot = .max
            let readers = hub.recordReaders
            batches = batches.filter { readers.contains($0.key) }
        }
        if lastSlot == record.slot { return lastRoute }
        lastSlot = record.slot
        if let known = routes[record.slot] {
            lastRoute = known
            return known
        }
        let found = makeRoute(record)
        routes[record.slot] = .some(found)
        lastRoute = found
        return found
    }

    private func makeRoute(_ record: WireTrace) -> Route? {
        guard let described = hub.route(slot: record.slot, epoch: record.epoch) else { return nil }
        var context = described.context
        context.bootTime = Clock.realtimeAtBoot()
        let source = TraceSource(slot: record.slot, epoch: record.epoch, context: context)
        let route = Route(epoch: record.epoch, context: source.context, wantsEvents: described.wantsEvents)
        route.sinks = described.readers.map { reader in
            let batch = batches[reader.number] ?? Batch(reader.queue)
            batches[reader.number] = batch
            return Sink(batch, source, reader.wanted)
        }
        return route
    }

    /// Hands over what there is: at the end of each look at the ring.
    func endBatch() {
        flush()
        age += 1
        if age >= Self.clockAge {
            age = 0
            version = .max
        }
    }

    private func flush() {
        for batch in batches.values { flush(batch) }
        if calls > 0 {
            hub.count(calls: calls)
            calls = 0
        }
    }

    private func flush(_ batch: Batch) {
        guard !batch.sinks.isEmpty else { return }
        var records = RecordBatch(frame: ByteBuffer(), units: [])
        var delivered: UInt64 = 0
        var lost: UInt64 = 0
        for sink in batch.sinks {
            if sink.count > 0 {
                records.units.append((sink.source.context.sandbox, sink.units))
                delivered &+= sink.count
                if !sink.isAnnounced {
                    records.sources.append(sink.source)
                    sink.isAnnounced = true
                }
            }
            if sink.lost > 0 {
                records.lost.append((sink.source.context.sandbox, sink.lost))
                lost &+= sink.lost
            }
            sink.room = nil
            sink.units = 0
            sink.count = 0
            sink.lost = 0
        }
        batch.sinks = []
        let length = batch.frame.readableBytes - EventFrame.headBytes
        if length > 0 {
            batch.frame.setBytes(EventFrame.head(.records, length: length), at: batch.frame.readerIndex)
        }
        records.frame = batch.frame
        batch.frame = ByteBuffer()
        batch.frame.reserveCapacity(min(records.frame.readableBytes + 4096, Self.frameBytes + 4096))
        batch.queue.add(records)
        hub.count(delivered: delivered, lostByReaders: lost)
    }
}
