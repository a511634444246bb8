internal import CorralEvents
internal import CorralKernel
internal import Glibc

/// Writes records to the files of a journal. Blocks; used on the journal's queue alone.
struct JournalWriter: ~Copyable {
    private struct Failure {
        var from: Int64
        var error: String
        var cause: Gap.Cause
        /// Events that were not taken meanwhile.
        var lost: UInt64 = 0
    }

    /// Bytes that are written at once.
    private static let batch = 1 << 20

    private let directory: JournalDirectory
    private let configuration: JournalConfiguration
    private let now: @Sendable () -> Int64
    private(set) var statistics = JournalStatistics()

    private var isOpen = false
    private var chain = JournalChain()
    /// The last record on disk.
    private(set) var written = JournalChain()
    private var file: JournalFile?
    private var current: JournalDirectory.File?
    /// Of the first record in the current file.
    private var begun: Int64 = 0
    private var closed: [JournalDirectory.File] = []
    /// Records that are chained and not written.
    private var pending: [UInt8] = []
    private var pendingRecords: UInt64 = 0
    private var isUnsynced = false
    private var failure: Failure?

    init(
        _ directory: JournalDirectory, _ configuration: JournalConfiguration, now: @escaping @Sendable () -> Int64
    ) {
        self.directory = directory
        self.configuration = configuration
        self.now = now
    }

    var isFailing: Bool { failure != nil }
    /// Nil while it works.
    var error: String? { failure?.error }
    /// The number of the last record that was taken.
    var last: UInt64 { chain.number }
    /// Records that are on their way.
    var unwritten: UInt64 { pendingRecords }

    /// Finds the end of the chain and states what is wrong there. What fails is tried again by `retry`.
    mutating func open() {
        guard !isOpen else { return }
        do throws(FileError) {
            let found = try JournalRecovery(directory)
            chain = found.chain
            written = found.chain
            current = found.current
            begun = found.begun
            closed = found.closed
            if let current { file = try JournalFile(directory.path(of: current.name), .write) }
            isOpen = true
            for gap in found.gaps { state(gap) }
            try directory.removeSetAside(before: now() &- configuration.keepAge.components.seconds &* 1_000_000_000)
        } catch {
            fail(error)
        }
    }

    /// Takes an event; `flush` writes it at the latest.
    mutating func append(_ event: Event) {
        chain.append(event, to: &pending)
        pendingRecords += 1
        if pending.count >= Self.batch, failure == nil { flush() }
    }

    private mutating func state(_ gap: Gap) {
        // Retention is what the settings want.
        if gap.cause != .retention { statistics.gaps += 1 }
        append(Event(time: now(), seq: 0, sandbox: nil, body: .gap(gap)))
    }

    /// Counts events that were not taken since the last call.
    mutating func lose(_ losses: [(SandboxReference?, UInt64)]) {
        for (sandbox, count) in losses {
            statistics.lost &+= count
            append(Event(time: now(), seq: 0, sandbox: sandbox, body: .lost(Loss(count: count, place: .journal))))
        }
    }

    /// Events that wait to be told by `lose` once this works again.
    mutating func note(lost: UInt64) {
        failure?.lost = lost
    }

    mutating func flush() {
        guard isOpen, failure == nil else { return }
        do throws(FileError) {
            try write()
            if configuration.sync == .always { try sync() }
        } catch {
            fail(error)
        }
        refresh()
    }

    private mutating func write() throws(FileError) {
        guard !pending.isEmpty else { return }
        if let current, current.bytes >= configuration.fileBytes || isOld(begun, configuration.fileAge) {
            try rotate()
        }
        try ensureFile()
        guard file != nil, var current else { return }
        try file?.write(pending, at: current.bytes)
        if current.bytes == 0 { begun = now() }
        current.bytes += UInt64(pending.count)
        current.modified = now()
        self.current = current
        statistics.bytes &+= UInt64(pending.count)
        statistics.records &+= pendingRecords
        written = chain
        pending.removeAll(keepingCapacity: true)
        pendingRecords = 0
        isUnsynced = true
    }

    /// A new file begins with the first record that is not written.
    private mutating func ensureFile() throws(FileError) {
        guard file == nil else { return }
        let first = written.number &+ 1
        let name = JournalDirectory.name(first: first)
        file = try JournalFile(directory.path(of: name), .create)
        current = JournalDirectory.File(name: name, first: first, bytes: 0, modified: now())
        if configuration.sync != .never { try directory.sync() }
    }

    private mutating func rotate() throws(FileError) {
        if configuration.sync != .never { try sync() }
        file = nil
        if let current { closed.append(current) }
        current = nil
    }

    private mutating func sync() throws(FileError) {
        guard isUnsynced else { return }
        // What has failed once is not tried again: the kernel may have let go of the pages (fsync(2)).
        isUnsynced = false
        try file?.sync()
    }

    private func isOld(_ time: Int64, _ age: Duration) -> Bool {
        now() &- time > age.components.seconds &* 1_000_000_000
    }

    private mutating func fail(_ error: FileError) {
        let cause: Gap.Cause = error.call == "fdatasync" || error.call == "fsync" ? .syncFailed : .writeFailed
        if failure == nil { failure = Failure(from: now(), error: error.description, cause: cause) }
        refresh()
    }

    /// Once a second: syncs, removes what is too old, and looks after the file.
    mutating func tick() {
        retry()
        guard isOpen, failure == nil else { return }
        do throws(FileError) {
            if configuration.sync != .never { try sync() }
            if try file?.status().isNamed == false { abandonFile() }
            try removeOldFiles()
        } catch {
            fail(error)
        }
        flush()
    }

    /// Goes on where it stopped, if that is possible again, and states the gap.
    mutating func retry() {
        guard let failed = failure else { return }
        failure = nil
        if !isOpen {
            open()
            guard isOpen else {
                failure = failed
                return refresh()
            }
        }
        do throws(FileError) {
            // Part of a line may stand behind the last record.
            if let current { try file?.truncate(to: current.bytes) }
            try write()
        } catch {
            failure = failed
            failure?.error = error.description
            return refresh()
        }
        state(
            Gap(failed.cause, from: failed.from, count: failed.lost > 0 ? failed.lost : nil, error: failed.error))
        flush()
    }

    private mutating func abandonFile() {
        let name = current?.name
        file = nil
        current = nil
        state(Gap(.fileRemoved, file: name))
    }

    /// What goes is stated before it goes.
    private mutating func removeOldFiles() throws(FileError) {
        var bytes = closed.reduce(current?.bytes ?? 0) { $0 &+ $1.bytes }
        var count = 0
        for file in closed where bytes > configuration.keepBytes || isOld(file.modified, configuration.keepAge) {
            bytes -= min(bytes, file.bytes)
            count += 1
        }
        guard count > 0 else { return }
        let going = closed.prefix(count)
        let next = closed.count > count ? closed[count] : current
        guard let next, let kept = try firstRecord(of: next) else { return }
        state(Gap(.retention, through: kept.number &- 1, hash: kept.previous, file: going.last?.name))
        flush()
        guard failure == nil else { return }
        for file in going { try directory.remove(file.name) }
        closed.removeFirst(count)
    }

    private func firstRecord(of file: JournalDirectory.File) throws(FileError) -> JournalRecord? {
        let reader = try JournalFile(directory.path(of: file.name), .read)
        var bytes: [UInt8] = []
        while true {
            let piece = try reader.read(64 << 10, at: UInt64(bytes.count))
            if let end = piece.firstIndex(of: UInt8(ascii: "\n")) {
                bytes += piece[..<end]
                return JournalRecord(line: bytes[...])
            }
            if piece.isEmpty { return nil }
            bytes += piece
        }
    }

    private mutating func refresh() {
        statistics.isFailing = failure != nil
        statistics.files = closed.count + (current == nil ? 0 : 1)
        statistics.bytesOnDisk = closed.reduce(current?.bytes ?? 0) { $0 &+ $1.bytes }
        statistics.headNumber = written.number
        statistics.headHash = written.hash.description
    }

    /// Writes and syncs what there is; the last call.
    mutating func close() {
        retry()
        flush()
        if configuration.sync != .never { try? sync() }
    }
}
