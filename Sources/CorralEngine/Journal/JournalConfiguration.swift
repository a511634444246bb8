/// How the audit journal is kept. docs/AUDIT.md says what each setting means.
public struct JournalConfiguration: Sendable, Equatable {
    /// When records are forced to the disk.
    public enum Sync: String, Sendable, CaseIterable {
        /// Each batch before the next one is taken.
        case always
        /// Once a second.
        case interval
        /// When the kernel likes.
        case never
    }

    public var sync: Sync
    /// A file that holds this many bytes, or whose first record is this old, is followed by a new one.
    public var fileBytes: UInt64
    public var fileAge: Duration
    /// The oldest files go when all are larger than this, or when their last record is older.
    public var keepBytes: UInt64
    public var keepAge: Duration
    /// Events that may wait to be written, and how many of them may be of one sandbox.
    public var queueLimit: Int
    public var queueShare: Int
    /// Decisions, names and processes of one sandbox that are written at once, and how many more each second.
    public var sandboxBurst: Int
    public var sandboxRate: Double

    public init(
        sync: Sync = .interval, fileBytes: UInt64 = 64 << 20, fileAge: Duration = .seconds(86_400),
        keepBytes: UInt64 = 1 << 30, keepAge: Duration = .seconds(90 * 86_400), queueLimit: Int = 65_536,
        queueShare: Int = 16_384, sandboxBurst: Int = 20_000, sandboxRate: Double = 2
    ) {
        self.sync = sync
        self.fileBytes = fileBytes
        self.fileAge = fileAge
        self.keepBytes = keepBytes
        self.keepAge = keepAge
        self.queueLimit = queueLimit
        self.queueShare = queueShare
        self.sandboxBurst = sandboxBurst
        self.sandboxRate = sandboxRate
    }
}

/// What became of the journal since this daemon began.
public struct JournalStatistics: Sendable, Equatable {
    /// Written.
    public var records: UInt64 = 0
    public var bytes: UInt64 = 0
    /// Events that were not taken: the queue was full.
    public var lost: UInt64 = 0
    /// Events beyond what their sandboxes may have in the journal.
    public var beyondShare: UInt64 = 0
    /// `gap` records.
    public var gaps: UInt64 = 0
    /// Events that wait.
    public var queued = 0
    /// Nothing can be written at present.
    public var isFailing = false
    /// On disk, with the one being written.
    public var files = 0
    public var bytesOnDisk: UInt64 = 0
    /// The last record that was written.
    public var headNumber: UInt64 = 0
    public var headHash = ""

    public init() {}
}
