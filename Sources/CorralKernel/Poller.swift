internal import CLinux
internal import Glibc
internal import Synchronization

/// Waits for descriptors on one thread of its own, so that no pool thread ever blocks.
///
/// Safety: shared state is behind the mutex; the thread alone touches the poll array.
public final class Poller: @unchecked Sendable {
    public enum Interest: Sendable {
        case readable
        case writable
    }

    private struct Waiter: Sendable {
        let descriptors: [(SharedDescriptor, Int16)]
        let wake: @Sendable () -> Void
    }

    private struct State: Sendable {
        var waiters: [UInt64: Waiter] = [:]
        var next: UInt64 = 0
    }

    private let state = Mutex(State())
    private let event: FileDescriptor

    public init() throws(KernelError) {
        event = FileDescriptor(owning: try systemCall("eventfd") { corral_eventfd() })
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(&thread, nil, pollForever, context)
        guard result == 0 else {
            Unmanaged<Poller>.fromOpaque(context).release()
            throw KernelError(call: "pthread_create", subject: "poller", errno: result)
        }
        pthread_detach(thread)
    }

    /// Calls `wake` once, on the poller's thread, when any of them is ready or has hung up. It must not block.
    @discardableResult
    public func notify(
        _ descriptors: [(SharedDescriptor, Interest)], wake: @escaping @Sendable () -> Void
    ) -> UInt64 {
        let waiter = Waiter(
            descriptors: descriptors.map { ($0.0, Int16($0.1 == .readable ? POLLIN : POLLOUT)) }, wake: wake
        )
        let number = state.withLock { state in
            state.next += 1
            state.waiters[state.next] = waiter
            return state.next
        }
        signal()
        return number
    }

    /// Returns when any of them is ready or has hung up, or the task is cancelled.
    public func wait(_ descriptors: [(SharedDescriptor, Interest)]) async {
        let number = Mutex<UInt64?>(nil)
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let once = Once(continuation)
                let registered = notify(descriptors) { once.resume() }
                number.withLock { $0 = registered }
                if Task.isCancelled { forget(registered) }
            }
        } onCancel: {
            if let registered = number.withLock({ $0 }) { forget(registered) }
        }
    }

    /// A waiter that is given up is woken, once, like one that is served.
    private func forget(_ number: UInt64) {
        let waiter = state.withLock { $0.waiters.removeValue(forKey: number) }
        waiter?.wake()
        signal()
    }

    private func signal() {
        var one: UInt64 = 1
        _ = write(event.raw, &one, 8)
    }

    fileprivate func run() {
        while true {
            var numbers: [UInt64] = []
            var polled = [pollfd(fd: event.raw, events: Int16(POLLIN), revents: 0)]
            // Held so that no descriptor is closed, and its number reused, while it is polled.
            let waiters = state.withLock { $0.waiters }
            for (number, waiter) in waiters {
                for (descriptor, events) in waiter.descriptors {
                    numbers.append(number)
                    polled.append(pollfd(fd: descriptor.raw, events: events, revents: 0))
                }
            }
            guard poll(&polled, nfds_t(polled.count), -1) > 0 else { continue }
            if polled[0].revents != 0 {
                var count: UInt64 = 0
                _ = read(event.raw, &count, 8)
            }
            for (index, number) in numbers.enumerated() where polled[index + 1].revents != 0 {
                let waiter = state.withLock { $0.waiters.removeValue(forKey: number) }
                waiter?.wake()
            }
        }
    }

    private final class Once: Sendable {
        private let continuation: Mutex<CheckedContinuation<Void, Never>?>

        init(_ continuation: CheckedContinuation<Void, Never>) {
            self.continuation = Mutex(continuation)
        }

        func resume() {
            continuation.withLock { continuation in
                defer { continuation = nil }
                return continuation
            }?.resume()
        }
    }
}

private func pollForever(_ context: UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer? {
    guard let context else { return nil }
    Unmanaged<Poller>.fromOpaque(context).takeRetainedValue().run()
    return nil
}
