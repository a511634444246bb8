internal import CLinux
public import CorralEvents
internal import Glibc
internal import Synchronization

/// Reads decisions from the ring on a thread of its own, oldest first.
///
/// The first decision after a quiet while is read at once. A decision that finds the ring read to its end wakes the reader, which
/// costs the program that was judged more than all else; so the reader then leaves the ring alone for a millisecond, in which
/// decisions wake nobody.
///
/// Safety: the ring is used by its one thread; `stop` only raises a flag.
public final class DecisionRing: @unchecked Sendable {
    private static let pauseMicroseconds: UInt32 = 1000

    private let ring: OpaquePointer
    private let receiver: Receiver
    private let stopping = Atomic<Bool>(false)
    private var thread = pthread_t()

    /// What the callback needs; passed through C as an unretained pointer that outlives the ring.
    final class Receiver: Sendable {
        let deliver: @Sendable (Result<WireDecision, WireError>) -> Void

        init(deliver: @escaping @Sendable (Result<WireDecision, WireError>) -> Void) {
            self.deliver = deliver
        }
    }

    /// `deliver` runs on the reader's thread and must not block.
    public init(
        programs: BpfPrograms, deliver: @escaping @Sendable (Result<WireDecision, WireError>) -> Void
    ) throws(KernelError) {
        receiver = Receiver(deliver: deliver)
        let map = try programs.map("decisions")
        guard let ring = corral_ring_open(map, receiveDecision, Unmanaged.passUnretained(receiver).toOpaque()) else {
            throw KernelError(call: "ring_buffer__new", subject: "decisions", errno: errno)
        }
        self.ring = ring
        if let earlier = programs.earlierDecisions {
            // What a daemon left that had a ring of another size.
            if let unread = corral_ring_open(
                earlier.raw, receiveDecision, Unmanaged.passUnretained(receiver).toOpaque())
            {
                _ = ring_buffer__consume(unread)
                ring_buffer__free(unread)
            }
        }
        let context = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(&thread, nil, readDecisions, context)
        guard result == 0 else {
            Unmanaged<DecisionRing>.fromOpaque(context).release()
            throw KernelError(call: "pthread_create", subject: "decision reader", errno: result)
        }
    }

    /// Returns once the thread has drained what was in the ring and ended.
    public func stop() {
        guard !stopping.exchange(true, ordering: .acquiringAndReleasing) else { return }
        pthread_join(thread, nil)
        ring_buffer__free(ring)
    }

    fileprivate func read() {
        while !stopping.load(ordering: .acquiring) {
            if ring_buffer__poll(ring, 100) > 0 { usleep(Self.pauseMicroseconds) }
        }
        _ = ring_buffer__consume(ring)
    }
}

private func readDecisions(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    Unmanaged<DecisionRing>.fromOpaque(context).takeRetainedValue().read()
    return nil
}

private func receiveDecision(
    _ context: UnsafeMutableRawPointer?, _ data: UnsafeMutableRawPointer?, _ size: Int
) -> Int32 {
    guard let context, let data else { return 0 }
    let receiver = Unmanaged<DecisionRing.Receiver>.fromOpaque(context).takeUnretainedValue()
    do throws(WireError) {
        receiver.deliver(.success(try WireDecision(bytes: UnsafeRawBufferPointer(start: data, count: size))))
    } catch {
        receiver.deliver(.failure(error))
    }
    return 0
}
