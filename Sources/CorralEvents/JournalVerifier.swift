/// Checks the lines of a journal, in order, and names each one that was removed, altered, moved or put in.
public struct JournalVerifier: Sendable {
    /// A line by its file and number, from 1.
    public struct Place: Sendable, Equatable {
        public var file: String
        public var line: Int

        public init(file: String, line: Int) {
            self.file = file
            self.line = line
        }
    }

    public enum Finding: Sendable, Equatable {
        /// The line is no record at all.
        case notARecord
        /// Its bytes are not those that its hash was taken of.
        case altered(record: UInt64)
        /// Records that should stand before this line and stand nowhere.
        case missing(ClosedRange<UInt64>)
        /// It belongs further up.
        case misplaced(record: UInt64)
        /// There is another record of this number: one of the two was put in.
        case repeated(record: UInt64)
        /// It does not cite the record that stands before it, which was replaced; `there` is where that one stands.
        case notFollowing(record: UInt64, there: Place)
        /// The journal begins with a later record than the first, and no record tells of the files before it.
        case unexplainedBeginning(record: UInt64)
        /// No record has the hash that the caller knows.
        case headNotFound
    }

    public struct Problem: Sendable, Equatable {
        public var place: Place
        public var finding: Finding

        public init(place: Place, finding: Finding) {
            self.place = place
            self.finding = finding
        }
    }

    public struct Report: Sendable, Equatable {
        /// In the order of the lines.
        public var problems: [Problem] = []
        /// Runs of records that are as they were written, each following the one before it.
        public var intact: [ClosedRange<UInt64>] = []
        /// Lines that were read.
        public var lines = 0
        public var files = 0
        /// The last record that was in its place.
        public var last: JournalChain?
        /// The last record tells that corrald stopped in good order. False: it runs, was killed, or lines at the end were
        /// removed, which nothing within the journal can show.
        public var isClosed = false
        /// The last line has no line break: it is being written, or was torn.
        public var endsWithinLine = false
        /// What the journal itself states to be missing, the first `mostStatements`.
        public var statements: [Statement] = []
        public var statementCount = 0
    }

    /// A `gap` record.
    public struct Statement: Sendable, Equatable {
        public var place: Place
        public var gap: Gap
    }

    public static let mostStatements = 100

    /// What a record of the cause `retention` says.
    private struct Removal: Sendable {
        var through: UInt64
        var hash: SHA256?
    }

    private let head: SHA256?
    private let startsAtBeginning: Bool
    private var hasSeenHead = false
    private var report = Report()
    private var place = Place(file: "", line: 0)
    private var lastPlace = Place(file: "", line: 0)
    private var first: (chain: JournalChain, place: Place)?
    private var run: ClosedRange<UInt64>?
    /// Lines since the last record in its place whose number cannot be trusted; each may be one that is missing.
    private var doubtful: UInt64 = 0
    private var missing: [(records: ClosedRange<UInt64>, place: Place)] = []
    /// A second record of the last one's number: the next record tells which of the two it follows.
    private var rival: SHA256?
    private var removals: [Removal] = []

    /// - Parameters:
    ///   - head: the hash of a record that must be there, known from elsewhere.
    ///   - startsAtBeginning: the files are all there are, so that a journal that begins later than with its first record
    ///     has to say why.
    public init(head: SHA256? = nil, startsAtBeginning: Bool = true) {
        self.head = head
        self.startsAtBeginning = startsAtBeginning
    }

    public mutating func begin(file: String) {
        place = Place(file: file, line: 0)
        report.files += 1
    }

    /// The next line of the file, without its line break.
    public mutating func add(_ line: ArraySlice<UInt8>) {
        place.line += 1
        report.lines += 1
        report.isClosed = false
        guard let record = JournalRecord(line: line) else {
            doubtful += 1
            return add(.notARecord)
        }
        let isSound = record.actualHash == record.hash
        if isSound {
            note(record, line)
            if record.hash == head { hasSeenHead = true }
        }
        guard let last = report.last else {
            first = (JournalChain(number: record.number, hash: record.previous), place)
            return advance(to: record, isSound: isSound)
        }
        let follows = record.previous == last.hash
        let (next, isLast) = last.number.addingReportingOverflow(1)
        guard isSound else {
            // Its number may be false: it counts where it fits.
            if record.number == next { return advance(to: record, isSound: false) }
            doubtful += 1
            return add(.altered(record: record.number))
        }
        guard !isLast, record.number >= next else { return addEarlier(record, than: last) }
        if record.number > next, !follows {
            let absent = record.number - next
            if absent > doubtful {
                missing.append((next...(record.number - 1), place))
            }
            return advance(to: record, isSound: true)
        }
        if !follows, rival != record.previous || record.number != next {
            add(.notFollowing(record: record.number, there: lastPlace))
        } else if follows, record.number > next {
            add(.notFollowing(record: record.number, there: lastPlace))
        }
        advance(to: record, isSound: true)
    }

    private mutating func addEarlier(_ record: JournalRecord, than last: JournalChain) {
        if let index = missing.firstIndex(where: { $0.records.contains(record.number) }) {
            let (records, where_) = missing.remove(at: index)
            if records.lowerBound < record.number {
                missing.append((records.lowerBound...(record.number - 1), where_))
            }
            if record.number < records.upperBound {
                missing.append(((record.number + 1)...records.upperBound, where_))
            }
            add(.misplaced(record: record.number))
        } else {
            if record.number == last.number { rival = record.hash }
            add(.repeated(record: record.number))
        }
    }

    private mutating func advance(to record: JournalRecord, isSound: Bool) {
        let continues = report.last.map { record.previous == $0.hash && record.number == $0.number &+ 1 } ?? true
        if isSound {
            if let run, continues {
                self.run = run.lowerBound...record.number
            } else {
                endRun()
                run = record.number...record.number
            }
        } else {
            add(.altered(record: record.number))
        }
        report.last = JournalChain(number: record.number, hash: record.hash)
        lastPlace = place
        doubtful = 0
        rival = nil
    }

    private mutating func add(_ finding: Finding) {
        report.problems.append(Problem(place: place, finding: finding))
        endRun()
    }

    private mutating func endRun() {
        if let run { report.intact.append(run) }
        run = nil
    }

    /// What a sound record says about the journal itself.
    private mutating func note(_ record: JournalRecord, _ line: ArraySlice<UInt8>) {
        // The type follows the time and `seq`, which is 0 for such records.
        let start = line.dropFirst(39).prefix(40)
        guard start.starts(with: "\",\"seq\":0,\"type\":\"".utf8), let event = try? Event(json: record.eventLine) else {
            return
        }
        switch event.body {
        case .gap(let gap) where gap.cause == .retention:
            removals.append(Removal(through: gap.through ?? 0, hash: gap.hash))
        case .gap(let gap):
            report.statementCount += 1
            if report.statements.count < Self.mostStatements {
                report.statements.append(Statement(place: place, gap: gap))
            }
        case .audit(let audit): report.isClosed = audit.action == .stop
        default: break
        }
    }

    /// What follows the last line break of the last file begun.
    public mutating func addPartialLine() {
        report.endsWithinLine = true
        report.isClosed = false
    }

    public mutating func finish() -> Report {
        endRun()
        var report = report
        report.problems += missing.map { Problem(place: $0.place, finding: .missing($0.records)) }
        if let first, startsAtBeginning {
            let before = JournalChain(number: first.chain.number &- 1, hash: first.chain.hash)
            let isExplained =
                before == JournalChain()
                || removals.contains { $0.through == before.number && $0.hash == before.hash }
            if !isExplained {
                report.problems.append(
                    Problem(place: first.place, finding: .unexplainedBeginning(record: first.chain.number)))
            }
        }
        if head != nil, !hasSeenHead {
            report.problems.append(Problem(place: lastPlace, finding: .headNotFound))
        }
        let order = Dictionary(
            report.problems.enumerated().map { ($0.element.place.file, $0.offset) }, uniquingKeysWith: min)
        report.problems.sort {
            (order[$0.place.file] ?? 0, $0.place.line) < (order[$1.place.file] ?? 0, $1.place.line)
        }
        return report
    }
}

extension JournalVerifier.Finding: CustomStringConvertible {
    public var description: String {
        switch self {
        case .notARecord: "is no record of a journal"
        case .altered(let record): "record \(record) was altered: its bytes do not give the hash that it states"
        case .missing(let records) where records.count == 1: "before it, record \(records.lowerBound) was removed"
        case .missing(let records):
            "before it, records \(records.lowerBound) to \(records.upperBound) were removed"
        case .misplaced(let record): "record \(record) was moved here from further up"
        case .repeated(let record): "record \(record) stands here once more; one of the two was put in"
        case .notFollowing(let record, let there):
            "record \(record) does not follow the line before it, \(there): that one was replaced or put in"
        case .unexplainedBeginning(let record):
            "begins with record \(record); the records before it were removed, and not by retention"
        case .headNotFound: "no record has the given hash: lines at the end were removed, or all were written anew"
        }
    }
}

extension JournalVerifier.Place: CustomStringConvertible {
    public var description: String { "\(file):\(line)" }
}
