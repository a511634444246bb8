internal import Dispatch
internal import Synchronization

/// Bytes that a blocking thread makes, on their way to a client. Holds back the thread while many wait.
public final class ByteOutlet: Sendable {
    private struct State {
        var pieces: [[UInt8]] = []
        var count = 0
        var isEnded = false
        var failure: (any Error)?
        var isClosed = false
        var writerWaits = false
        var reader: CheckedContinuation<Void, Never>?
    }

    /// Thrown into the thread that writes once nobody reads.
    struct Closed: Error {}

    private static let limit = 1 << 20
    private let state = Mutex(State())
    private let room = DispatchSemaphore(value: 0)

    public init() {}

    /// The next bytes; nil at the end. One caller at a time.
    public func next() async throws -> [UInt8]? {
        while true {
            enum Step {
                case took([UInt8], wakes: Bool)
                case ended((any Error)?)
                case wait
            }
            let step: Step = state.withLock { state in
                guard !state.pieces.isEmpty else { return state.isEnded ? .ended(state.failure) : .wait }
                let piece = state.pieces.removeFirst()
                state.count -= piece.count
                guard state.writerWaits, state.count < Self.limit / 2 else { return .took(piece, wakes: false) }
                state.writerWaits = false
                return .took(piece, wakes: true)
            }
            switch step {
            case .took(let piece, let wakes):
                if wakes { room.signal() }
                return piece
            case .ended(let error):
                if let error { throw error }
                return nil
            case .wait:
                await withCheckedContinuation { continuation in
                    let waits = state.withLock { state in
                        guard state.pieces.isEmpty, !state.isEnded else { return false }
                        state.reader = continuation
                        return true
                    }
                    if !waits { continuation.resume() }
                }
            }
        }
    }

    /// Nobody reads any more.
    public func close() {
        let wakes = state.withLock { state in
            state.isClosed = true
            state.pieces = []
            defer { state.writerWaits = false }
            return state.writerWaits
        }
        if wakes { room.signal() }
    }

    /// Blocks while much waits.
    func write(_ bytes: UnsafeRawBufferPointer) throws {
        let (isFull, reader) = state.withLock { state in
            guard !state.isClosed else { return (false, CheckedContinuation<Void, Never>?.none) }
            state.pieces.append(Array(bytes))
            state.count += bytes.count
            state.writerWaits = state.count >= Self.limit
            defer { state.reader = nil }
            return (state.writerWaits, state.reader)
        }
        reader?.resume()
        if isFull { room.wait() }
        if state.withLock({ $0.isClosed }) { throw Closed() }
    }

    func finish(throwing error: (any Error)? = nil) {
        let reader = state.withLock { state in
            state.isEnded = true
            state.failure = error
            defer { state.reader = nil }
            return state.reader
        }
        reader?.resume()
    }
}
