/// Writes a tar archive in pax format, so that nothing of a `TreeEntry` is lost. Its output depends on its input alone.
public final class TarWriter: TreeSink {
    private let output: (UnsafeRawBufferPointer) throws -> Void
    private var remaining: UInt64 = 0
    private var padding = 0
    private static let zeros = [UInt8](repeating: 0, count: 1024)

    /// `output` takes each piece as it comes.
    public init(output: @escaping (UnsafeRawBufferPointer) throws -> Void) {
        self.output = output
    }

    public func begin(_ entry: TreeEntry) throws {
        var records: [(String, [UInt8])] = []
        var name = entry.path.isRoot ? Array("./".utf8) : entry.path.bytes
        if entry.kind == .directory, !entry.path.isRoot { name.append(UInt8(ascii: "/")) }
        var map: [UInt8] = []
        var stored = entry.kind == .file ? entry.dataBytes : 0
        if let segments = entry.segments, entry.kind == .file {
            map = Self.map(of: segments)
            stored += UInt64(map.count)
            records += [
                ("GNU.sparse.major", Array("1".utf8)), ("GNU.sparse.minor", Array("0".utf8)),
                ("GNU.sparse.name", name), ("GNU.sparse.realsize", Array("\(entry.size)".utf8)),
            ]
            name = Array("GNUSparseFile.0/".utf8) + (entry.path.last?.bytes ?? [])
        }
        if name.count > 100 { records.append(("path", name)) }
        if entry.linkTarget.count > 100 { records.append(("linkpath", entry.linkTarget)) }
        if stored > Self.largestOctal12 { records.append(("size", Array("\(stored)".utf8))) }
        if entry.uid > Self.largestOctal8 { records.append(("uid", Array("\(entry.uid)".utf8))) }
        if entry.gid > Self.largestOctal8 { records.append(("gid", Array("\(entry.gid)".utf8))) }
        let isPlainTime =
            entry.modified.nanoseconds == 0 && (0...Int64(Self.largestOctal12)).contains(entry.modified.seconds)
        if !isPlainTime { records.append(("mtime", Self.text(of: entry.modified))) }
        for attribute in entry.attributes.sorted(by: { $0.name < $1.name }) {
            records.append((PaxRecords.attributePrefix + attribute.name, attribute.value))
        }
        if !records.isEmpty {
            let body = records.flatMap { Self.record($0.0, $0.1) }
            try put(
                Self.header(
                    name: Array("PaxHeaders/".utf8) + name.suffix(64), type: UInt8(ascii: "x"), size: UInt64(body.count)
                ))
            try put(body)
            try pad(after: UInt64(body.count))
        }
        try put(
            Self.header(
                name: name, type: Self.type(of: entry.kind), size: stored, mode: entry.mode, uid: entry.uid,
                gid: entry.gid,
                seconds: isPlainTime ? UInt64(entry.modified.seconds) : 0, link: entry.linkTarget,
                device: (entry.major, entry.minor)))
        try put(map)
        remaining = stored - UInt64(map.count)
        padding = Int((512 - stored % 512) % 512)
    }

    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard UInt64(bytes.count) <= remaining else { throw ArchiveError(.malformed, "more data than the header says") }
        remaining -= UInt64(bytes.count)
        try output(bytes)
    }

    public func end() throws {
        guard remaining == 0 else { throw ArchiveError(.malformed, "less data than the header says") }
        try put(Self.zeros.prefix(padding))
        padding = 0
    }

    /// The end of the archive.
    public func finish() throws {
        try put(Self.zeros)
    }

    private func put(_ bytes: some Collection<UInt8>) throws {
        guard !bytes.isEmpty else { return }
        try Array(bytes).withUnsafeBytes { try output($0) }
    }

    private func pad(after count: UInt64) throws {
        try put(Self.zeros.prefix(Int((512 - count % 512) % 512)))
    }

    // MARK: fields

    private static let largestOctal8: UInt32 = 0o7777777
    private static let largestOctal12: UInt64 = 0o77777777777

    private static func type(of kind: TreeEntry.Kind) -> UInt8 {
        switch kind {
        case .file: UInt8(ascii: "0")
        case .hardLink: UInt8(ascii: "1")
        case .symbolicLink: UInt8(ascii: "2")
        case .characterDevice: UInt8(ascii: "3")
        case .blockDevice: UInt8(ascii: "4")
        case .directory: UInt8(ascii: "5")
        case .fifo: UInt8(ascii: "6")
        }
    }

    /// What does not fit is left out: an extended header has said it.
    private static func header(
        name: some Collection<UInt8>, type: UInt8, size: UInt64, mode: UInt32 = 0o644, uid: UInt32 = 0, gid: UInt32 = 0,
        seconds: UInt64 = 0, link: [UInt8] = [], device: (UInt32, UInt32) = (0, 0)
    ) -> [UInt8] {
        var block = [UInt8](repeating: 0, count: TarHeader.size)
        func set(_ offset: Int, _ bytes: some Sequence<UInt8>) {
            for (index, byte) in bytes.enumerated() { block[offset + index] = byte }
        }
        func set(_ offset: Int, octal value: UInt64, digits: Int) {
            let text = String(value, radix: 8)
            guard text.utf8.count <= digits else { return set(offset, octal: 0, digits: digits) }
            set(offset, (String(repeating: "0", count: digits - text.utf8.count) + text).utf8)
        }
        set(0, name.prefix(100))
        set(100, octal: UInt64(mode), digits: 7)
        set(108, octal: UInt64(uid), digits: 7)
        set(116, octal: UInt64(gid), digits: 7)
        set(124, octal: size, digits: 11)
        set(136, octal: seconds, digits: 11)
        block[156] = type
        set(157, link.prefix(100))
        set(257, [0x75, 0x73, 0x74, 0x61, 0x72, 0, 0x30, 0x30])
        set(329, octal: UInt64(device.0), digits: 7)
        set(337, octal: UInt64(device.1), digits: 7)
        set(148, [UInt8](repeating: UInt8(ascii: " "), count: 8))
        set(148, octal: UInt64(block.reduce(0) { $0 + Int($1) }), digits: 6)
        block[154] = 0
        return block
    }

    /// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
    private static func record(_ key: String, _ value: [UInt8]) -> [UInt8] {
        let rest = Array(" \(key)=".utf8) + value + [UInt8(ascii: "\n")]
        var count = rest.count
        while count != rest.count + String(count).utf8.count { count = rest.count + String(count).utf8.count }
        return Array(String(count).utf8) + rest
    }

    private static func map(of segments: [TreeEntry.Segment]) -> [UInt8] {
        var text = "\(segments.count)\n"
        for segment in segments { text += "\(segment.offset)\n\(segment.count)\n" }
        var bytes = Array(text.utf8)
        while bytes.count % 512 != 0 { bytes.append(0) }
        return bytes
    }

    private static func text(of time: TreeEntry.Time) -> [UInt8] {
        var (seconds, nanoseconds) = (time.seconds, time.nanoseconds)
        let isNegative = seconds < 0
        if isNegative, nanoseconds > 0 { (seconds, nanoseconds) = (seconds + 1, 1_000_000_000 - nanoseconds) }
        let digits = String(nanoseconds)
        let fraction = nanoseconds == 0 ? "" : "." + String(repeating: "0", count: 9 - digits.count) + digits
        return Array("\(isNegative ? "-" : "")\(seconds.magnitude)\(fraction)".utf8)
    }
}
