/// `GET /v1/pool`.
public struct PoolStatus: Codable, Sendable, Equatable {
    /// Sandboxes made from one image.
    public struct Shape: Codable, Sendable, Equatable {
        public var image: String
        public var warm: Int
        public var filling: Int
        public var inUse: Int
        public var coldStarts: UInt64
        public var warmStarts: UInt64

        public init(image: String, warm: Int, filling: Int, inUse: Int, coldStarts: UInt64, warmStarts: UInt64) {
            self.image = image
            self.warm = warm
            self.filling = filling
            self.inUse = inUse
            self.coldStarts = coldStarts
            self.warmStarts = warmStarts
        }
    }

    /// Microseconds from the claim to the command's first instruction that so many starts did not exceed, 9 % too great at most.
    public struct StartTimes: Codable, Sendable, Equatable {
        public var p50: UInt64
        public var p90: UInt64
        public var p99: UInt64

        public init(p50: UInt64, p90: UInt64, p99: UInt64) {
            self.p50 = p50
            self.p90 = p90
            self.p99 = p99
        }
    }

    /// Warm sandboxes wanted of each image in use (`--pool`), and below how many it is refilled.
    public var target: Int
    public var low: Int
    public var warm: Int
    /// Being made now.
    public var filling: Int
    /// Claimed or running.
    public var inUse: Int
    /// Starts that found the pool empty.
    public var coldStarts: UInt64
    public var warmStarts: UInt64

    /// On their way out.
    public var destroying: Int
    public var shapes: [Shape]
    /// Absent: there was none.
    public var warmStart: StartTimes?
    public var coldStart: StartTimes?

    public init(
        target: Int, low: Int, warm: Int, filling: Int, inUse: Int, coldStarts: UInt64, warmStarts: UInt64,
        destroying: Int = 0, shapes: [Shape] = [], warmStart: StartTimes? = nil, coldStart: StartTimes? = nil
    ) {
        self.target = target
        self.low = low
        self.destroying = destroying
        self.shapes = shapes
        self.warmStart = warmStart
        self.coldStart = coldStart
        self.warm = warm
        self.filling = filling
        self.inUse = inUse
        self.coldStarts = coldStarts
        self.warmStarts = warmStarts
    }
}

/// `GET /v1/audit`: where the audit journal stands.
public struct JournalStatus: Codable, Sendable, Equatable {
    public var directory: String
    /// The last record that was written, and its hash: who keeps them elsewhere can prove later that it is still there.
    public var record: UInt64
    public var hash: String
    public var files: Int
    public var bytes: UInt64
    /// Events that wait to be written.
    public var queued: Int
    /// Events that the journal could not take, since corrald began.
    public var lost: UInt64
    /// Nothing can be written at present.
    public var failing: Bool

    public init(
        directory: String, record: UInt64, hash: String, files: Int, bytes: UInt64, queued: Int, lost: UInt64,
        failing: Bool
    ) {
        self.directory = directory
        self.record = record
        self.hash = hash
        self.files = files
        self.bytes = bytes
        self.queued = queued
        self.lost = lost
        self.failing = failing
    }
}

/// `GET /v1/version`.
public struct VersionInfo: Codable, Sendable, Equatable {
    public var version: String
    public var abi: UInt32
    public var instance: String
    public var kernel: String

    public init(version: String, abi: UInt32, instance: String, kernel: String) {
        self.version = version
        self.abi = abi
        self.instance = instance
        self.kernel = kernel
    }
}

/// `GET /v1/doctor`: what this host can do, each answer one of three.
public struct DoctorReport: Codable, Sendable, Equatable {
    public enum Answer: String, Codable, Sendable {
        case yes
        case no
        case unknown = "could_not_tell"
    }

    public struct Check: Codable, Sendable, Equatable {
        public var feature: String
        public var answer: Answer
        /// What was seen.
        public var detail: String
        /// What is lost without it; nil when nothing is.
        public var without: String?

        public init(feature: String, answer: Answer, detail: String, without: String?) {
            self.feature = feature
            self.answer = answer
            self.detail = detail
            self.without = without
        }
    }

    public var checks: [Check]

    public init(checks: [Check]) {
        self.checks = checks
    }
}

/// Body of every answer that is not 2xx.
public struct ErrorBody: Codable, Sendable, Equatable, Error {
    /// A stable word: `invalid_policy`, `not_found`, `conflict`, `invalid_request`, `forbidden`, `exhausted`,
    /// `command_not_found`, `command_not_executable`, `internal`.
    public var code: String
    /// One line for a person.
    public var message: String
    /// Further lines: one a policy problem, a verifier log, the call that failed.
    public var detail: [String]?

    public init(code: String, message: String, detail: [String]? = nil) {
        self.code = code
        self.message = message
        self.detail = detail
    }
}
