internal import NIOCore
internal import Synchronization

/// Bytes on their way from one task to another, bounded: the writer waits while `limit` bytes lie here, the reader takes
/// all there are at once. One writer, one reader. Cancelling either while it waits abandons the mailbox for both.
final class ByteMailbox: Sendable {
    private struct State {
        var pending = ByteBuffer()
        var isFinished = false
        var isAbandoned = false
        var reader: CheckedContinuation<Void, Never>?
        var writer: CheckedContinuation<Void, Never>?

        mutating func takeReader() -> CheckedContinuation<Void, Never>? {
            defer { reader = nil }
            return reader
        }

        mutating func takeWriter() -> CheckedContinuation<Void, Never>? {
            defer { writer = nil }
            return writer
        }
    }

    private enum Side {
        case reader
        case writer
    }

    private let limit: Int
    private let state = Mutex(State())

    init(limit: Int) {
        self.limit = limit
    }

    /// Returns once the bytes lie in the mailbox. Throws when it was abandoned; bytes after `finish` are dropped.
    func write(_ bytes: ByteBuffer) async throws(CancellationError) {
        await wait(as: .writer) { $0.pending.readableBytes < self.limit || $0.isFinished }
        let (reader, isAbandoned) = state.withLock { state in
            if !state.isFinished, !state.isAbandoned { state.pending.writeImmutableBuffer(bytes) }
            return (state.takeReader(), state.isAbandoned)
        }
        reader?.resume()
        if isAbandoned { throw CancellationError() }
    }

    /// All that has come since the last call; nil after the last bytes, or once abandoned.
    func read() async -> ByteBuffer? {
        await wait(as: .reader) { $0.pending.readableBytes > 0 || $0.isFinished }
        let (bytes, writer) = state.withLock { state in
            guard !state.isAbandoned, state.pending.readableBytes > 0 else {
                return (ByteBuffer?.none, state.takeWriter())
            }
            let bytes = state.pending
            state.pending = ByteBuffer()
            return (bytes, state.takeWriter())
        }
        writer?.resume()
        return bytes
    }

    /// Nothing more will be written. Idempotent.
    func finish() {
        wake { $0.isFinished = true }
    }

    private func abandon() {
        wake { $0.isAbandoned = true }
    }

    private func wake(_ change: (inout State) -> Void) {
        let waiting = state.withLock { state in
            change(&state)
            return [state.takeReader(), state.takeWriter()]
        }
        for continuation in waiting { continuation?.resume() }
    }

    private func wait(as side: Side, until isReady: @Sendable (borrowing State) -> Bool) async {
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.isAbandoned || isReady(state) { return true }
                    switch side {
                    case .reader: state.reader = continuation
                    case .writer: state.writer = continuation
                    }
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            abandon()
        }
    }
}
