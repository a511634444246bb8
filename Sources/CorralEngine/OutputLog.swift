internal import CorralKernel
internal import Synchronization

/// The last of what a command wrote. Holds `limit` bytes of each stream, in at most `mostPieces` pieces; the oldest go first. Costs nothing before the command writes.
final class OutputLog: Sendable {
    /// 1 MiB, and up to one piece more.
    static let limit = 1 << 20
    static let mostPieces = 4096
    /// What comes closer together than this, and is smaller than this, becomes one piece. Nanoseconds; bytes.
    fileprivate static let joinTime: Int64 = 10_000_000
    fileprivate static let joinSize = 16 << 10

    struct Piece: Sendable {
        /// Nanoseconds since 1970 of its first byte.
        var time: Int64
        var isError: Bool
        var bytes: [UInt8]
        /// Counts the bytes of both streams before it.
        var position: UInt64
    }

    fileprivate struct Stream: Sendable {
        var pieces: [Piece] = []
        /// Pieces before it were dropped; taken out of the array once they are many.
        var first = 0
        var held = 0
    }

    fileprivate struct State: Sendable {
        /// Of output and of errors.
        var streams = [Stream(), Stream()]
        var end: UInt64 = 0
        var isFinished = false
        var waiting: [UInt64: CheckedContinuation<Void, Never>] = [:]
        var next: UInt64 = 0
    }

    private let state = Mutex(State())

    func append(_ bytes: [UInt8], isError: Bool, time: Int64 = Clock.realtime()) {
        guard !bytes.isEmpty else { return }
        let waiting = state.withLock { state in
            state.streams[isError ? 1 : 0].append(
                Piece(time: time, isError: isError, bytes: bytes, position: state.end))
            state.end += UInt64(bytes.count)
            return state.takeWaiting()
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Nothing more will come.
    func finish() {
        let waiting = state.withLock { state in
            state.isFinished = true
            return state.takeWaiting()
        }
        for continuation in waiting { continuation.resume() }
    }

    /// Where a reader begins: at the first piece that is not older than `since`, and with no more than the last `lines`
    /// lines of both streams together.
    func start(since: Int64?, lines: Int?) -> UInt64 {
        state.withLock { state in
            var position =
                state.merged.first { piece in since.map { piece.time >= $0 } ?? true }?.position ?? state.end
            if let lines { position = max(position, state.position(ofLast: lines)) }
            return position
        }
    }

    /// What there is from `position` on, where it ends, and how many bytes before it are held no more.
    func read(from position: UInt64) -> (pieces: [Piece], end: UInt64, skipped: UInt64, isFinished: Bool) {
        state.withLock { state in
            var pieces: [Piece] = []
            var reached = position
            var skipped: UInt64 = 0
            for var piece in state.merged {
                let pieceEnd = piece.position + UInt64(piece.bytes.count)
                guard pieceEnd > reached else { continue }
                if piece.position > reached { skipped += piece.position - reached }
                if piece.position < reached {
                    piece.bytes.removeFirst(Int(reached - piece.position))
                    piece.position = reached
                }
                pieces.append(piece)
                reached = pieceEnd
            }
            return (pieces, state.end, skipped + (state.end > reached ? state.end - reached : 0), state.isFinished)
        }
    }

    /// Returns when there is more than up to `position`, or nothing more will come, or the task is cancelled.
    func wait(beyond position: UInt64) async {
        let number = state.withLock { state in
            state.next += 1
            return state.next
        }
        await withTaskCancellationHandler {
            await withCheckedContinuation { continuation in
                let isOver = state.withLock { state in
                    if state.end > position || state.isFinished || Task.isCancelled { return true }
                    state.waiting[number] = continuation
                    return false
                }
                if isOver { continuation.resume() }
            }
        } onCancel: {
            state.withLock { $0.waiting.removeValue(forKey: number) }?.resume()
        }
    }
}

extension OutputLog.State {
    mutating func takeWaiting() -> [CheckedContinuation<Void, Never>] {
        guard !waiting.isEmpty else { return [] }
        defer { waiting = [:] }
        return Array(waiting.values)
    }

    /// All that is held, in the order in which it was written.
    var merged: [OutputLog.Piece] {
        let all = streams.flatMap { $0.pieces[$0.first...] }
        return all.sorted { $0.position < $1.position }
    }

    /// Where the last `lines` lines begin; a line break at the very end begins none.
    func position(ofLast lines: Int) -> UInt64 {
        guard lines > 0 else { return end }
        var missing = lines
        var isLast = true
        for piece in merged.reversed() {
            for index in piece.bytes.indices.reversed() {
                defer { isLast = false }
                guard piece.bytes[index] == UInt8(ascii: "\n"), !isLast else { continue }
                missing -= 1
                if missing == 0 { return piece.position + UInt64(index) + 1 }
            }
        }
        return 0
    }
}

extension OutputLog.Stream {
    mutating func append(_ piece: OutputLog.Piece) {
        let count = piece.bytes.count
        if pieces.count > first, pieces[pieces.count - 1].takes(piece) {
            pieces[pieces.count - 1].bytes += piece.bytes
        } else {
            pieces.append(piece)
        }
        held += count
        while held - pieces[first].bytes.count >= OutputLog.limit || pieces.count - first > OutputLog.mostPieces {
            held -= pieces[first].bytes.count
            pieces[first].bytes = []
            first += 1
        }
        if first > 64, first > pieces.count / 2 {
            pieces.removeFirst(first)
            first = 0
        }
    }
}

extension OutputLog.Piece {
    /// Whether `next` can be made part of it.
    func takes(_ next: OutputLog.Piece) -> Bool {
        position + UInt64(bytes.count) == next.position && next.time - time < OutputLog.joinTime
            && bytes.count + next.bytes.count <= OutputLog.joinSize
    }
}
