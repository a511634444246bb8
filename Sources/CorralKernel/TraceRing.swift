internal import CLinux
internal import CorralABI
internal import CorralEvents
internal import Glibc
internal import Synchronization

/// Reads the trace from its ring on a thread of its own, by the clock: the programs never wake it, which would cost them
/// more than the event itself.
///
/// Safety: the ring is used by its one thread; everything shared is behind the mutex.
final class TraceRing: @unchecked Sendable {
    private struct Waiter {
        /// Of `consumed`: the ring holds no more than its size, so that what was in it is delivered by then.
        let until: UInt64
        let continuation: CheckedContinuation<Void, Never>
    }

    private struct State {
        var isActive = false
        var isStopping = false
        /// Bytes taken out so far.
        var consumed: UInt64 = 0
        /// Those that wait for a pass which began after they came.
        var coming: [Waiter] = []
    }

    /// What the callback needs; the reader's thread alone uses it.
    fileprivate final class Receiver {
        let traces: TracePage
        let deliver: @Sendable (Result<WireTrace, WireError>) -> Void
        let endBatch: @Sendable () -> Void
        var consumed: UInt64 = 0
        /// Records until the callback gives the thread a moment to look around.
        var left = TraceRing.batch

        init(
            traces: TracePage, deliver: @escaping @Sendable (Result<WireTrace, WireError>) -> Void,
            endBatch: @escaping @Sendable () -> Void
        ) {
            self.traces = traces
            self.deliver = deliver
            self.endBatch = endBatch
        }
    }

    /// Between two looks at the ring.
    private static let periodMilliseconds: Int32 = 1
    /// Records in one go. A ring that is filled as fast as it is read would otherwise never be left.
    fileprivate static let batch = 4096

    private let ring: OpaquePointer
    private let receiver: Receiver
    private let state = Mutex(State())
    private let event: FileDescriptor
    private var thread = pthread_t()

    init(
        map: Int32, traces: TracePage, deliver: @escaping @Sendable (Result<WireTrace, WireError>) -> Void,
        endBatch: @escaping @Sendable () -> Void
    ) throws(KernelError) {
        receiver = Receiver(traces: traces, deliver: deliver, endBatch: endBatch)
        event = FileDescriptor(owning: try systemCall("eventfd") { corral_eventfd() })
        guard let ring = corral_ring_open(map, receiveTrace, Unmanaged.passUnretained(receiver).toOpaque()) else {
            throw KernelError(call: "ring_buffer__new", subject: "trace", errno: errno)
        }
        self.ring = ring
        let context = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(&thread, nil, readTrace, context)
        guard result == 0 else {
            Unmanaged<TraceRing>.fromOpaque(context).release()
            ring_buffer__free(ring)
            throw KernelError(call: "pthread_create", subject: "trace reader", errno: result)
        }
    }

    /// Reads from now on.
    func resume() {
        state.withLock { $0.isActive = true }
        wake()
    }

    /// Stops reading once the ring is empty.
    func pause() {
        state.withLock { $0.isActive = false }
    }

    /// Delivers what is left and ends the thread. For once.
    func stop() {
        state.withLock { $0.isStopping = true }
        wake()
        pthread_join(thread, nil)
        ring_buffer__free(ring)
    }

    /// Returns once every record that is in the ring now has been delivered.
    func settle() async {
        await withCheckedContinuation { continuation in
            let isOver = state.withLock { state in
                if state.isStopping { return true }
                state.coming.append(
                    Waiter(until: state.consumed + UInt64(CORRAL_TRACE_RING_BYTES), continuation: continuation))
                return false
            }
            if isOver { continuation.resume() } else { wake() }
        }
    }

    private func wake() {
        var one: UInt64 = 1
        _ = write(event.raw, &one, 8)
    }

    fileprivate func run() {
        var waiting: [Waiter] = []
        while true {
            let (isActive, isStopping) = state.withLock { state in
                waiting += state.coming
                state.coming = []
                return (state.isActive, state.isStopping)
            }
            receiver.left = Self.batch
            _ = ring_buffer__consume(ring)
            // A batch that was cut short has left something.
            let isEmpty = receiver.left > 0
            if receiver.left < Self.batch { receiver.endBatch() }
            let consumed = receiver.consumed
            state.withLock { $0.consumed = consumed }
            waiting.removeAll { waiter in
                guard isEmpty || consumed >= waiter.until else { return false }
                waiter.continuation.resume()
                return true
            }
            guard isEmpty else { continue }
            if isStopping { break }
            if corral_wait_readable(event.raw, isActive ? Self.periodMilliseconds : -1) > 0 {
                var count: UInt64 = 0
                _ = read(event.raw, &count, 8)
            }
        }
        let late = state.withLock { state in
            defer { state.coming = [] }
            return state.coming
        }
        for waiter in waiting + late { waiter.continuation.resume() }
    }
}

private func readTrace(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    Unmanaged<TraceRing>.fromOpaque(context).takeRetainedValue().run()
    return nil
}

/// 0 to go on; anything negative leaves the ring, this record counted as read.
private func receiveTrace(
    _ context: UnsafeMutableRawPointer?, _ data: UnsafeMutableRawPointer?, _ size: Int
) -> Int32 {
    guard let context, let data else { return 0 }
    let receiver = Unmanaged<TraceRing.Receiver>.fromOpaque(context).takeUnretainedValue()
    // As the programs count it: with the ring's header, in steps of 8.
    let room = UInt64((size + 7) / 8 * 8) + UInt64(BPF_RINGBUF_HDR_SZ)
    receiver.consumed += room
    do throws(WireError) {
        let record = try WireTrace(bytes: UnsafeRawBufferPointer(start: data, count: size))
        receiver.deliver(.success(record))
        receiver.traces.consume(room, of: record.slot)
    } catch {
        receiver.deliver(.failure(error))
        // Its share of the ring is free all the same.
        if let slot = WireTrace.slot(of: UnsafeRawBufferPointer(start: data, count: size)) {
            receiver.traces.consume(room, of: slot)
        }
    }
    receiver.left -= 1
    return receiver.left > 0 ? 0 : -EAGAIN
}
