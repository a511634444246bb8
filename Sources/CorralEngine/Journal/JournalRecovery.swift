internal import CorralEvents
internal import CorralKernel

/// The end of a journal as a daemon finds it: where the chain goes on, and what has to be stated.
struct JournalRecovery {
    var chain = JournalChain()
    /// The file that is written next; nil: none yet.
    var current: JournalDirectory.File?
    /// Of the first record of `current`.
    var begun: Int64 = 0
    /// All files but the current one, oldest first.
    var closed: [JournalDirectory.File] = []
    var gaps: [Gap] = []

    /// Bytes that are read at once.
    private static let block = 256 << 10
    /// A file with more lines at its end that are no records is set aside as a whole.
    private static let mostBadLines = 100

    /// Reads the end of the newest file that holds a record. What follows its last record is moved to a file
    /// `torn-….jsonl` beside it, so that nothing is thrown away.
    init(_ directory: JournalDirectory) throws(FileError) {
        try directory.make()
        var files = try directory.files()
        while let last = files.popLast() {
            let path = directory.path(of: last.name)
            guard last.bytes > 0 else {
                try directory.remove(last.name)
                continue
            }
            let file = try JournalFile(path, .write)
            guard let (end, record) = try Self.lastRecord(of: file, bytes: last.bytes) else {
                let name = try Self.freeName(for: last, directory)
                try Files.rename(path, to: directory.path(of: name))
                gaps.append(Gap(.unreadable, file: name, bytes: last.bytes))
                continue
            }
            if end < last.bytes {
                gaps.append(try Self.setAside(file, from: end, last, directory))
            }
            closed = files
            var current = last
            current.bytes = end
            self.current = current
            begun = Event.time(ofLine: try file.read(4096, at: 0)[...]) ?? last.modified
            chain = JournalChain(number: record.number, hash: record.hash)
            if !Self.tellsOfStop(record) { gaps.append(Gap(.uncleanStop)) }
            return
        }
    }

    private static func tellsOfStop(_ record: JournalRecord) -> Bool {
        guard let event = try? Event(json: record.eventLine), case .audit(let audit) = event.body else { return false }
        return audit.action == .stop
    }

    /// With the offset at which its line ends.
    private static func lastRecord(
        of file: borrowing JournalFile, bytes: UInt64
    ) throws(FileError) -> (UInt64, JournalRecord)? {
        var bound = bytes
        for _ in 0..<mostBadLines {
            guard let (start, end, line) = try lastLine(of: file, before: bound) else { return nil }
            if let record = JournalRecord(line: line[...]) { return (end, record) }
            bound = start
        }
        return nil
    }

    /// The last whole line of the first `bound` bytes, without its line break, and the offsets where it begins and where it
    /// ends with it.
    private static func lastLine(
        of file: borrowing JournalFile, before bound: UInt64
    ) throws(FileError) -> (UInt64, UInt64, [UInt8])? {
        var tail: [UInt8] = []
        var start = bound
        while true {
            if let end = tail.lastIndex(of: UInt8(ascii: "\n")) {
                let before = tail[..<end].lastIndex(of: UInt8(ascii: "\n"))
                if before != nil || start == 0 {
                    let first = before.map { $0 + 1 } ?? 0
                    return (start + UInt64(first), start + UInt64(end) + 1, Array(tail[first..<end]))
                }
            } else if start == 0 {
                return nil
            }
            let count = min(start, UInt64(block))
            start -= count
            tail = try file.read(Int(count), at: start) + tail
        }
    }

    private static func freeName(
        for file: JournalDirectory.File, _ directory: JournalDirectory
    ) throws(FileError) -> String {
        let base = JournalDirectory.name(first: file.first, prefix: JournalDirectory.tornPrefix)
        var name = base
        var number = 1
        while try Files.status(directory.path(of: name)) != nil {
            name = "\(base).\(number)"
            number += 1
        }
        return name
    }

    private static func setAside(
        _ file: borrowing JournalFile, from end: UInt64, _ description: JournalDirectory.File,
        _ directory: JournalDirectory
    ) throws(FileError) -> Gap {
        let name = try freeName(for: description, directory)
        let aside = try JournalFile(directory.path(of: name), .create)
        var offset = end
        while offset < description.bytes {
            let piece = try file.read(Int(min(description.bytes - offset, UInt64(block))), at: offset)
            if piece.isEmpty { break }
            try aside.write(piece, at: offset - end)
            offset += UInt64(piece.count)
        }
        try file.truncate(to: end)
        return Gap(.tornLine, file: name, bytes: description.bytes - end)
    }
}
