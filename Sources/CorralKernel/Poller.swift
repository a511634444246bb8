internal import CLinux
internal import Glibc
internal import Synchronization

/// Waits for descriptors on one thread of its own, so that no pool thread ever blocks. What it costs does not grow with
/// the number of descriptors.
///
/// A descriptor is waited for by one caller at a time; a second one takes the place of the first, which is never woken.
public final class Poller: Sendable {
    public enum Interest: Sendable {
        case readable
        case writable
    }

    private struct Waiter: Sendable {
        /// Held so that no descriptor is closed, and its number reused, while it is watched.
        let descriptors: [SharedDescriptor]
        let wake: @Sendable () -> Void
    }

    private struct State: Sendable {
        var waiters: [UInt64: Waiter] = [:]
        var next: UInt64 = 0
    }

    private let state = Mutex(State())
    private let epoll: FileDescriptor

    public init() throws(KernelError) {
        epoll = FileDescriptor(owning: try systemCall("epoll_create1") { corral_epoll_create() })
        var thread = pthread_t()
        let context = Unmanaged.passRetained(self).toOpaque()
        let result = pthread_create(&thread, nil, pollForever, context)
        guard result == 0 else {
            Unmanaged<Poller>.fromOpaque(context).release()
            throw KernelError(call: "pthread_create", subject: "poller", errno: result)
        }
        pthread_detach(thread)
    }

    /// Calls `wake` once, when any of them is ready or has hung up, or at once when one cannot be watched. On the poller's
    /// thread or on this one; it must not block. The result is for `cancel`.
    @discardableResult
    public func notify(
        _ descriptors: [(SharedDescriptor, Interest)], wake: @escaping @Sendable () -> Void
    ) -> UInt64 {
        let (number, isWatched) = state.withLock { state in
            state.next += 1
            state.waiters[state.next] = Waiter(descriptors: descriptors.map(\.0), wake: wake)
            // Within the lock, so that `take` finds all of them watched, or none.
            let isWatched = descriptors.allSatisfy { descriptor, interest in
                corral_epoll_arm(epoll.raw, descriptor.raw, interest == .writable, state.next) == 0
            }
            return (state.next, isWatched)
        }
        if !isWatched { take(number)?.wake() }
        return number
    }

    /// Takes back a `notify` that is no longer wanted; its `wake` may be on its way.
    public func cancel(_ number: UInt64) {
        _ = take(number)
    }

    /// Returns when any of them is ready or has hung up, or the task is cancelled.
    public func wait(_ descriptors: [(SharedDescriptor, Interest)]) async {
        let number = Mutex<UInt64?>(nil)
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let once = Once(continuation)
                let registered = notify(descriptors) { once.resume() }
                number.withLock { $0 = registered }
                if Task.isCancelled { take(registered)?.wake() }
            }
        } onCancel: {
            if let registered = number.withLock({ $0 }) { take(registered)?.wake() }
        }
    }

    /// The waiter, which nobody else gets any more; nil when it is gone.
    private func take(_ number: UInt64) -> Waiter? {
        state.withLock { state in
            guard let waiter = state.waiters.removeValue(forKey: number) else { return nil }
            for descriptor in waiter.descriptors { corral_epoll_disarm(epoll.raw, descriptor.raw) }
            return waiter
        }
    }

    fileprivate func run() {
        var keys = [UInt64](repeating: 0, count: 64)
        while true {
            let count = corral_epoll_wait(epoll.raw, &keys, keys.count)
            for key in keys.prefix(max(0, Int(count))) { take(key)?.wake() }
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
