public import CorralEvents
internal import CorralKernel
internal import Synchronization

/// Which past events a reader wants.
public struct HistoryRequest: Sendable, Equatable {
    /// Those from this moment on, nanoseconds since 1970, UTC; nil: all that are kept.
    public var since: Int64?
    /// No more than the newest of this number.
    public var last: Int?

    /// Larger numbers of events are asked for by time.
    public static let mostEvents = 1_000_000

    public init(since: Int64? = nil, last: Int? = nil) {
        self.since = since
        self.last = last
    }
}

/// Past events out of the files of a journal, oldest first. Files that go meanwhile are told of by a `gap` event.
final class JournalHistory: Sendable {
    /// Bytes that are read at once.
    private static let block = 1 << 20
    /// How far a file's own time may lie behind the times in it, nanoseconds.
    private static let slack: Int64 = 2_000_000_000

    private struct Cursor: Sendable {
        var files: [JournalDirectory.File]
        var offset: UInt64 = 0
        /// The beginning of a line whose end has not been read.
        var partial: [UInt8] = []
        /// Matching records that are not wanted, as they are older than the newest of the wanted number.
        var skipped: UInt64 = 0
        var notice: Event?
    }

    private let directory: JournalDirectory
    private let end: UInt64
    private let since: Int64?
    private let filter: EventFilter?
    private let cursor: Mutex<Cursor>
    private let work = WorkQueue("corral.history")

    /// Blocks; `of` does it for you. `end`: the last record that is read.
    private init(
        _ directory: JournalDirectory, until end: Journal.Position, _ request: HistoryRequest, filter: EventFilter,
        now: Int64
    ) throws {
        self.directory = directory
        self.end = end.record
        since = request.since
        self.filter = filter == EventFilter() ? nil : filter
        var notice: Event?
        if end.unwritten > 0 {
            let gap = Gap(.writeFailed, count: end.unwritten, error: "these events are not in the journal yet")
            notice = Event(time: now, seq: 0, sandbox: nil, body: .gap(gap))
        }
        var files: [JournalDirectory.File] = []
        if try Files.status(directory.path) != nil {
            files = try directory.files().filter { file in
                file.first <= end.record && (request.since.map { file.modified &+ Self.slack >= $0 } ?? true)
            }
        }
        cursor = Mutex(Cursor(files: files, notice: notice))
        guard let last = request.last else { return }
        // Counted first, from the newest file on, and read then: the newest are wanted, the oldest are sent first.
        let wanted = UInt64(max(0, last))
        var matching: UInt64 = 0
        var first = files.count
        while first > 0, matching < wanted {
            first -= 1
            cursor.withLock { [first] in $0 = Cursor(files: [files[first]]) }
            while let lines = try read() { matching += UInt64(lines.count(where: { $0 == UInt8(ascii: "\n") })) }
        }
        cursor.withLock { [first, matching] in
            $0 = Cursor(
                files: Array(files[first...]), skipped: matching - min(matching, wanted), notice: notice)
        }
    }

    static func of(
        _ directory: JournalDirectory, until end: Journal.Position, _ request: HistoryRequest, filter: EventFilter
    ) async throws -> JournalHistory {
        let work = WorkQueue("corral.history")
        return try await work.run {
            try JournalHistory(directory, until: end, request, filter: filter, now: Clock.realtime())
        }
    }

    /// Whole lines as `Event.jsonLine` has them; nil at the end. What cannot be read is told of by a `gap` event.
    func next() async -> [UInt8]? {
        do {
            return try await work.run { try self.read() }
        } catch {
            cursor.withLock { cursor in
                cursor.files = []
                cursor.notice = nil
            }
            let gap = Gap(.unreadable, error: "\(error)")
            return Event(time: Clock.realtime(), seq: 0, sandbox: nil, body: .gap(gap)).jsonLine
        }
    }

    private func read() throws -> [UInt8]? {
        try cursor.withLock { cursor in
            while let file = cursor.files.first {
                var lines: [UInt8] = []
                let isAtEnd = try read(file, &cursor, into: &lines)
                if isAtEnd {
                    cursor.files.removeFirst()
                    cursor.offset = 0
                    cursor.partial = []
                }
                if !lines.isEmpty { return lines }
            }
            guard let notice = cursor.notice else { return nil }
            cursor.notice = nil
            return notice.jsonLine
        }
    }

    /// One block. True when nothing more comes from this file.
    private func read(
        _ description: JournalDirectory.File, _ cursor: inout Cursor, into lines: inout [UInt8]
    ) throws -> Bool {
        let bytes: [UInt8]
        do throws(FileError) {
            let file = try JournalFile(directory.path(of: description.name), .read)
            bytes = try file.read(Self.block, at: cursor.offset)
        } catch {
            guard try Files.status(directory.path(of: description.name)) == nil else { throw error }
            let gap = Gap(.retention, file: description.name)
            lines += Event(time: Clock.realtime(), seq: 0, sandbox: nil, body: .gap(gap)).jsonLine
            return true
        }
        if bytes.isEmpty { return true }
        cursor.offset += UInt64(bytes.count)
        var start = 0
        while let end = bytes[start...].firstIndex(of: UInt8(ascii: "\n")) {
            let line: ArraySlice<UInt8>
            if cursor.partial.isEmpty {
                line = bytes[start..<end]
            } else {
                line = (cursor.partial + bytes[start..<end])[...]
                cursor.partial = []
            }
            start = end + 1
            guard let record = JournalRecord(line: line) else { continue }
            if record.number > self.end { return true }
            if let since, let time = Event.time(ofLine: line), time < since { continue }
            if let filter {
                guard let event = try? Event(json: record.eventLine), filter.matches(event) else { continue }
            }
            if cursor.skipped > 0 {
                cursor.skipped -= 1
                continue
            }
            record.appendEventLine(to: &lines)
        }
        cursor.partial += bytes[start...]
        return false
    }
}

/// Past events, then those that come: none twice, none left out between the two.
public struct EventFeed: Sendable {
    /// Whole lines as `Event.jsonLine` has them; nil at the end. Nil: no past was asked for.
    public var past: (@Sendable () async -> [UInt8]?)?
    public var live: AsyncStream<Event>

    public init(past: (@Sendable () async -> [UInt8]?)? = nil, live: AsyncStream<Event>) {
        self.past = past
        self.live = live
    }
}
