internal import CorralArchive
internal import Dispatch
internal import Synchronization

/// Bytes that a client sends, on their way to a thread that blocks for them. Holds back the sender while many wait.
public final class ByteInlet: Sendable {
    private struct State {
        var pieces: [ArraySlice<UInt8>] = []
        var count = 0
        var isEnded = false
        var failure: (any Error)?
        /// Nobody reads any more.
        var isClosed = false
        var readerWaits = false
        var writer: CheckedContinuation<Void, Never>?
    }

    private static let limit = 1 << 20
    private let state = Mutex(State())
    private let arrival = DispatchSemaphore(value: 0)

    public init() {}

    /// Returns once there is room for more; false when nobody reads any more. One caller at a time.
    public func write(_ bytes: [UInt8]) async -> Bool {
        guard !bytes.isEmpty else { return true }
        let (isFull, wakes) = state.withLock { state in
            guard !state.isClosed else { return (false, false) }
            state.pieces.append(bytes[...])
            state.count += bytes.count
            defer { state.readerWaits = false }
            return (state.count >= Self.limit, state.readerWaits)
        }
        if wakes { arrival.signal() }
        if isFull {
            await withCheckedContinuation { continuation in
                let waits = state.withLock { state in
                    guard !state.isClosed, state.count >= Self.limit else { return false }
                    state.writer = continuation
                    return true
                }
                if !waits { continuation.resume() }
            }
        }
        return state.withLock { !$0.isClosed }
    }

    /// No more bytes come; with an error, because the client is gone.
    public func finish(throwing error: (any Error)? = nil) {
        let wakes = state.withLock { state in
            if !state.isEnded { state.failure = error }
            state.isEnded = true
            defer { state.readerWaits = false }
            return state.readerWaits
        }
        if wakes { arrival.signal() }
    }

    /// Nobody reads any more: what comes is dropped.
    func close() {
        let writer = state.withLock { state in
            state.isClosed = true
            state.pieces = []
            state.count = 0
            defer { state.writer = nil }
            return state.writer
        }
        writer?.resume()
    }

    fileprivate func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while true {
            enum Step {
                case took(Int, CheckedContinuation<Void, Never>?)
                case ended((any Error)?)
                case wait
            }
            let step: Step = state.withLock { state in
                guard let first = state.pieces.first else {
                    if state.isEnded { return .ended(state.failure) }
                    state.readerWaits = true
                    return .wait
                }
                let taken = first.prefix(buffer.count)
                buffer.copyBytes(from: taken)
                if taken.count == first.count {
                    state.pieces.removeFirst()
                } else {
                    state.pieces[0] = first.dropFirst(taken.count)
                }
                state.count -= taken.count
                guard state.count < Self.limit / 2 else { return .took(taken.count, nil) }
                defer { state.writer = nil }
                return .took(taken.count, state.writer)
            }
            switch step {
            case .took(let count, let writer):
                writer?.resume()
                return count
            case .ended(let error):
                if let error { throw error }
                return 0
            case .wait: arrival.wait()
            }
        }
    }

    /// For the thread that reads.
    var source: any ByteSource { Source(self) }

    private final class Source: ByteSource {
        private let inlet: ByteInlet

        init(_ inlet: ByteInlet) {
            self.inlet = inlet
        }

        func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int { try inlet.read(into: buffer) }
    }
}
