/// What a pax extended header says of the entry behind it. Keys that mean nothing here are left out.
struct PaxRecords: Equatable {
    var path: [UInt8]?
    var linkPath: [UInt8]?
    var size: UInt64?
    var uid: UInt64?
    var gid: UInt64?
    var modified: TreeEntry.Time?
    var attributes: [TreeEntry.Attribute] = []
    var sparse = Sparse()

    /// Keys `GNU.sparse.*`, in the three ways that GNU tar has had.
    struct Sparse: Equatable {
        var major: UInt64?
        var minor: UInt64?
        var name: [UInt8]?
        var size: UInt64?
        /// Offsets and counts by turns.
        var map: [UInt64] = []
        var isThere = false
    }

    static let attributePrefix = "SCHILY.xattr."

    /// Takes all records of a header: `LENGTH KEY=VALUE\n` each. Later ones win.
    mutating func parse(_ bytes: ArraySlice<UInt8>, limits: ArchiveLimits) throws(ArchiveError) {
        var rest = bytes
        while !rest.isEmpty {
            guard let space = rest.prefix(20).firstIndex(of: UInt8(ascii: " ")),
                let length = Self.decimal(rest[..<space]), length <= UInt64(rest.count),
                let count = Int(exactly: length), count > space - rest.startIndex + 1
            else { throw Self.malformed("a length") }
            let record = rest.prefix(count)
            rest = rest.dropFirst(count)
            guard record.last == UInt8(ascii: "\n") else { throw Self.malformed("a record without its end") }
            let text = record[(space + 1)...].dropLast()
            guard let equals = text.firstIndex(of: UInt8(ascii: "=")), equals > text.startIndex else {
                throw Self.malformed("a record without a key")
            }
            try take(key: String(decoding: text[..<equals], as: UTF8.self), value: text[(equals + 1)...], limits)
        }
    }

    private mutating func take(key: String, value: ArraySlice<UInt8>, _ limits: ArchiveLimits) throws(ArchiveError) {
        func number() throws(ArchiveError) -> UInt64 {
            guard let number = Self.decimal(value) else { throw Self.malformed("\(key), which is no number,") }
            return number
        }
        switch key {
        case "path": path = Array(value)
        case "linkpath": linkPath = Array(value)
        case "size": size = try number()
        case "uid": uid = try number()
        case "gid": gid = try number()
        case "mtime":
            guard let time = Self.time(value) else { throw Self.malformed("\(key), which is no time,") }
            modified = time
        case "GNU.sparse.major": (sparse.major, sparse.isThere) = (try number(), true)
        case "GNU.sparse.minor": (sparse.minor, sparse.isThere) = (try number(), true)
        case "GNU.sparse.name": (sparse.name, sparse.isThere) = (Array(value), true)
        case "GNU.sparse.size", "GNU.sparse.realsize": (sparse.size, sparse.isThere) = (try number(), true)
        case "GNU.sparse.numblocks": sparse.isThere = true
        case "GNU.sparse.offset", "GNU.sparse.numbytes":
            sparse.isThere = true
            sparse.map.append(try number())
            try checkMap(limits)
        case "GNU.sparse.map":
            sparse.isThere = true
            for part in value.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
                guard let number = Self.decimal(part) else { throw Self.malformed("a map that holds no numbers") }
                sparse.map.append(number)
                try checkMap(limits)
            }
        default:
            guard key.hasPrefix(Self.attributePrefix) else { return }
            let name = String(key.dropFirst(Self.attributePrefix.count))
            attributes.removeAll { $0.name == name }
            attributes.append(.init(name: name, value: Array(value)))
            guard attributes.reduce(0, { $0 + $1.name.utf8.count + $1.value.count }) <= limits.attributeBytes else {
                throw ArchiveError(.limit, "extended attributes of more than \(limits.attributeBytes) bytes")
            }
        }
    }

    private func checkMap(_ limits: ArchiveLimits) throws(ArchiveError) {
        guard sparse.map.count <= 2 * limits.segments else {
            throw ArchiveError(.limit, "a sparse file of more than \(limits.segments) pieces")
        }
    }

    static func malformed(_ what: String) -> ArchiveError {
        ArchiveError(.malformed, "an extended header holds \(what) that makes no sense")
    }

    static func decimal(_ digits: ArraySlice<UInt8>) -> UInt64? {
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        for digit in digits {
            guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
            let (scaled, overflow) = value.multipliedReportingOverflow(by: 10)
            let (sum, carry) = scaled.addingReportingOverflow(UInt64(digit - UInt8(ascii: "0")))
            guard !overflow, !carry else { return nil }
            value = sum
        }
        return value
    }

    /// `-1.5` is half a second before that second, as pax has it.
    static func time(_ text: ArraySlice<UInt8>) -> TreeEntry.Time? {
        let isNegative = text.first == UInt8(ascii: "-")
        let parts = text.dropFirst(isNegative ? 1 : 0).split(
            separator: UInt8(ascii: "."), maxSplits: 1, omittingEmptySubsequences: false)
        guard let first = parts.first, let whole = decimal(first), let seconds = Int64(exactly: whole),
            seconds < 1 << 40
        else { return nil }
        var nanoseconds: Int64 = 0
        if parts.count == 2 {
            var scale: Int64 = 100_000_000
            for digit in parts[1] {
                guard (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(digit) else { return nil }
                nanoseconds += Int64(digit - UInt8(ascii: "0")) * scale
                scale /= 10
            }
        }
        guard isNegative else { return .init(seconds: seconds, nanoseconds: nanoseconds) }
        return nanoseconds == 0
            ? .init(seconds: -seconds) : .init(seconds: -seconds - 1, nanoseconds: 1_000_000_000 - nanoseconds)
    }
}
