internal import CorralAPI
internal import CorralEvents
internal import Glibc

/// The events of corrald across its restarts: when the connection breaks it is made anew, what the journal holds of the time
/// between is read, nothing comes twice, and a `gap` event tells of the break.
struct EventFollower {
    /// How much of what came last is remembered at least, so that it is not shown twice. Bytes.
    private static let memory = 8 << 20
    /// How much earlier an event may have happened than one that came before it, nanoseconds.
    private static let disorder: Int64 = 10_000_000_000
    /// Of each line, as much as tells it from all others: its time, `seq`, sandbox and type.
    private static let keyLength = 160
    private static let longestPause: UInt32 = 2_000

    private let client: Client
    private let filter: EventFilter
    private let span: Client.EventSpan
    private let output: Int32
    private var lines: EventPieces
    private var recent: [[UInt8]] = []
    private var recentBytes = 0
    /// Lines that came before the break and may come again.
    private var seen: [ArraySlice<UInt8>: Int] = [:]
    private var newestSeen = Int64.min

    /// Throws when corrald cannot be reached now. `output`: where the caller writes.
    init(_ client: Client, matching filter: EventFilter, _ span: Client.EventSpan, output: Int32) throws(ClientError) {
        self.client = client
        self.filter = filter
        self.span = span
        self.output = output
        lines = try client.events(matching: filter, span)
        lines.output = output
    }

    /// Nil at the end of what was asked for. Throws `outputClosed` once nobody reads. Calls are in no journal, and come once.
    mutating func next() throws(ClientError) -> EventPiece? {
        while true {
            do throws(ClientError) {
                if let piece = try lines.next() {
                    guard case .lines(let lines) = piece else { return piece }
                    remember(lines)
                    let fresh = withoutSeen(lines)
                    if fresh.isEmpty { continue }
                    return .lines(fresh)
                }
                guard span.follow else { return nil }
            } catch {
                switch error {
                case .closed, .system: guard span.follow else { throw error }
                default: throw error
                }
            }
            return .lines(try reconnect())
        }
    }

    private mutating func remember(_ piece: [UInt8]) {
        guard span.follow else { return }
        recent.append(piece)
        recentBytes += piece.count
        // In bulk: each removal moves what is left.
        guard recentBytes > 2 * Self.memory else { return }
        var count = 0
        while recentBytes > Self.memory, count < recent.count - 1 {
            recentBytes -= recent[count].count
            count += 1
        }
        recent.removeFirst(count)
    }

    /// Waits until corrald is there again. Returns the `gap` event that tells of it.
    private mutating func reconnect() throws(ClientError) -> [UInt8] {
        let begun = Self.now
        Complaint.print("corrald closed the connection; trying again until it is back")
        let since = forgetAndFind() ?? begun
        var pause: UInt32 = 50
        while true {
            try sleep(milliseconds: pause)
            pause = min(pause * 2, Self.longestPause)
            do throws(ClientError) {
                lines = try client.events(matching: filter, Client.EventSpan(since: since))
                lines.output = output
                break
            } catch {
                switch error {
                case .unreachable, .closed, .system: continue
                case .refused(let status, _) where status >= 500: continue
                default: throw error
                }
            }
        }
        Complaint.print("corrald is back")
        return Event(time: Self.now, seq: 0, sandbox: nil, body: .gap(Gap(.disconnected, from: begun))).jsonLine
    }

    /// Puts what came last into `seen`, and returns from when on it has to be asked for again; nil when nothing came.
    private mutating func forgetAndFind() -> Int64? {
        seen = [:]
        newestSeen = .min
        var oldest: Int64?
        for piece in recent {
            for line in piece.split(separator: UInt8(ascii: "\n")) {
                guard let time = Event.time(ofLine: line) else { continue }
                seen[line.prefix(Self.keyLength), default: 0] += 1
                newestSeen = max(newestSeen, time)
                if oldest == nil { oldest = time }
            }
        }
        guard let oldest else { return nil }
        // Earlier ones are not remembered.
        return max(oldest, newestSeen - Self.disorder)
    }

    private mutating func withoutSeen(_ piece: [UInt8]) -> [UInt8] {
        guard !seen.isEmpty else { return piece }
        var fresh: [UInt8] = []
        fresh.reserveCapacity(piece.count)
        for line in piece.split(separator: UInt8(ascii: "\n")) {
            if let count = seen[line.prefix(Self.keyLength)] {
                seen[line.prefix(Self.keyLength)] = count > 1 ? count - 1 : nil
                continue
            }
            if let time = Event.time(ofLine: line), time > newestSeen &+ Self.disorder { seen = [:] }
            fresh += line
            fresh.append(UInt8(ascii: "\n"))
        }
        return fresh
    }

    private func sleep(milliseconds: UInt32) throws(ClientError) {
        var polled = [pollfd(fd: output, events: 0, revents: 0)]
        if poll(&polled, 1, Int32(milliseconds)) > 0 {
            if Int32(polled[0].revents) & (POLLERR | POLLHUP) != 0 { throw .outputClosed }
        }
    }

    private static var now: Int64 {
        var time = timespec()
        clock_gettime(CLOCK_REALTIME, &time)
        return Int64(time.tv_sec) * 1_000_000_000 + Int64(time.tv_nsec)
    }
}
