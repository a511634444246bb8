import CorralArchive
import Testing

@Suite struct TarReaderTests {
    static func entries(_ bytes: [UInt8], limits: ArchiveLimits = ArchiveLimits(), piece: Int = .max) throws
        -> [TreeEntry]
    {
        let reader = TarReader(MemorySource(bytes, piece: piece), limits: limits)
        var entries: [TreeEntry] = []
        while let entry = try reader.next() { entries.append(entry) }
        return entries
    }

    static func refusal(_ bytes: [UInt8], limits: ArchiveLimits = ArchiveLimits()) -> ArchiveError? {
        do {
            _ = try entries(bytes, limits: limits)
            return nil
        } catch {
            return error as? ArchiveError
        }
    }

    static func archive(_ build: (inout TarBytes) -> Void) -> [UInt8] {
        var tar = TarBytes()
        build(&tar)
        return tar.finished
    }

    @Test func plainEntriesAreRead() throws {
        let bytes = Self.archive {
            $0.add("./", type: "5", mode: 0o755)
            $0.add("./etc/", type: "5", mode: 0o755)
            $0.add("./etc/passwd", content: Array("root".utf8), mode: 0o4755, uid: 7, gid: 8)
            $0.add("etc/link", type: "2", link: "/../../etc/passwd")
            $0.add("etc/hard", type: "1", link: "./etc/passwd", size: 4)
        }
        for piece in [1, 7, 512, .max] {
            let entries = try Self.entries(bytes, piece: piece)
            #expect(entries.map(\.path.description) == [".", "etc", "etc/passwd", "etc/link", "etc/hard"])
            #expect(entries.map(\.kind) == [.directory, .directory, .file, .symbolicLink, .hardLink])
            #expect(entries[2].mode == 0o4755 && entries[2].uid == 7 && entries[2].gid == 8 && entries[2].size == 4)
            #expect(entries[2].modified.seconds == 1_700_000_000)
        }
    }

    @Test(arguments: [
        ("/etc/passwd", ArchiveError.Kind.refused, "is absolute"), ("../etc/passwd", .refused, ".."),
        ("a/../../b", .refused, ".."), ("a/b/..", .refused, ".."),
    ])
    func pathsThatLeadOutAreRefused(name: String, kind: ArchiveError.Kind, what: String) throws {
        let error = try #require(Self.refusal(Self.archive { $0.add(name) }))
        #expect(error.kind == kind && error.what.contains(what) && error.entry == name)
        // By an extended header too.
        let hidden = Self.refusal(
            Self.archive {
                $0.pax([("path", name)])
                $0.add("innocent")
            })
        #expect(hidden?.kind == kind && hidden?.entry == name)
    }

    @Test func pathsThatOnlyLookLikeItAreTaken() throws {
        let names = ["..a", "a..", "...", "a/..b/c", "./.x"]
        let entries = try Self.entries(Self.archive { tar in names.forEach { tar.add($0) } })
        #expect(entries.map(\.path.description) == ["..a", "a..", "...", "a/..b/c", ".x"])
    }

    @Test(arguments: ["/etc/passwd", "../x", "a/../../x", "."])
    func hardLinksThatLeadOutAreRefused(target: String) {
        let error = Self.refusal(Self.archive { $0.add("link", type: "1", link: target) })
        #expect(error?.kind == .refused && error?.entry == "link")
        // A symbolic link is words, and may say what it likes.
        #expect(Self.refusal(Self.archive { $0.add("link", type: "2", link: target) }) == nil)
    }

    @Test func wrongChecksumsAndTruncationAreRefused() throws {
        let good = Self.archive { $0.add("a", content: [UInt8](repeating: 1, count: 600)) }
        #expect(Self.refusal(good) == nil)
        var bad = good
        bad[0] ^= 1
        #expect(Self.refusal(bad)?.what.contains("checksum") == true)
        // Cut at any block before the end mark.
        for end in [1, 511, 512, 513, 1024, 1535, 1536] {
            #expect(Self.refusal(Array(good.prefix(end)))?.what.contains("cut off") == true, "\(end)")
        }
        #expect(Self.refusal([]) != nil)
    }

    @Test func numbersAreReadInEveryNotation() throws {
        let entries = try Self.entries(
            Self.archive {
                $0.add("base256") { block in
                    for index in 108..<116 { block[index] = 0 }
                    block[108] = 0x80
                    block[114] = 0x12
                    block[115] = 0x34
                    for index in 136..<148 { block[index] = 0xff }
                }
                $0.add("spaces") { block in
                    for (index, byte) in "   17 \0".utf8.enumerated() { block[108 + index] = byte }
                }
                $0.pax([("uid", "300"), ("gid", "301"), ("mtime", "-1.5"), ("size", "3")])
                $0.add("pax", content: [1, 2, 3], size: 0)
            })
        #expect(entries[0].uid == 0x1234 && entries[0].modified.seconds == -1)
        #expect(entries[1].uid == 0o17)
        #expect(entries[2].uid == 300 && entries[2].gid == 301 && entries[2].size == 3)
        #expect(entries[2].modified == .init(seconds: -2, nanoseconds: 500_000_000))
    }

    @Test func numbersThatAreNoneAreRefused() {
        func size(_ text: [UInt8]) -> ArchiveError? {
            Self.refusal(Self.archive { $0.add("a") { for (i, b) in text.enumerated() { $0[124 + i] = b } } })
        }
        #expect(size(Array("00000000000".utf8)) == nil)
        #expect(size(Array("0000000000x".utf8))?.kind == .malformed)
        #expect(size([UInt8](repeating: 0xff, count: 12))?.kind == .malformed)
        #expect(size([0x80] + [UInt8](repeating: 0xff, count: 11))?.kind == .malformed)
        #expect(size([0x80, 0, 0, 0, 0x7f] + [UInt8](repeating: 0xff, count: 7))?.kind == .limit)
        let owner = Self.refusal(Self.archive { $0.add("a", uid: 65_536) })
        #expect(owner?.kind == .refused && owner?.what.contains("65536") == true)
        #expect(Self.refusal(Self.archive { $0.add("a", uid: 65_535) }) == nil)
    }

    @Test func longNamesAndAttributesAreRead() throws {
        let long = String(repeating: "d/", count: 60) + "name"
        let entries = try Self.entries(
            Self.archive {
                $0.add("././@LongLink", type: "L", content: Array(long.utf8) + [0])
                $0.add("././@LongLink", type: "K", content: Array((long + "/t").utf8) + [0])
                $0.add("cut", type: "2", link: "cut")
                $0.pax([("path", long), ("SCHILY.xattr.user.a", "1"), ("SCHILY.xattr.security.capability", "x")])
                $0.add("cut")
                $0.add("prefixed") { block in
                    for (index, byte) in "some/where".utf8.enumerated() { block[345 + index] = byte }
                }
            })
        #expect(entries[0].path.description == long && entries[0].linkTarget == Array((long + "/t").utf8))
        #expect(entries[1].path.description == long)
        #expect(entries[1].attributes.map(\.name) == ["user.a", "security.capability"])
        #expect(entries[2].path.description == "some/where/prefixed")
    }

    @Test func damagedExtendedHeadersAreRefused() {
        for body in ["", "5 a=b", "99 a=b\n", "6 =bc\n", "0 a=b\n", "x a=b\n", "7 ab=c", "6 abc\n"] where !body.isEmpty
        {
            let bytes = Self.archive {
                $0.add("h", type: "x", content: Array(body.utf8))
                $0.add("a")
            }
            #expect(Self.refusal(bytes)?.kind == .malformed, "\(body)")
        }
        let good = Self.archive {
            $0.add("h", type: "x", content: Array("6 a=b\n".utf8))
            $0.add("a")
        }
        #expect(Self.refusal(good) == nil)
        // One header must not speak for all entries.
        let global = Self.archive {
            $0.pax([("path", "same")], type: "g")
            $0.add("a")
        }
        #expect(Self.refusal(global)?.kind == .refused)
        let comment = Self.archive {
            $0.pax([("comment", "a commit")], type: "g")
            $0.add("a")
        }
        #expect(Self.refusal(comment) == nil)
    }

    @Test func sparseFilesOfEveryFormatAreRead() throws {
        let data = [UInt8](repeating: 7, count: 1024)
        let wanted: [TreeEntry.Segment] = [.init(offset: 4096, count: 512), .init(offset: 65_536, count: 512)]
        func map(_ block: inout [UInt8]) {
            func set(_ offset: Int, _ value: Int) {
                let text = String(value, radix: 8)
                for (i, b) in (String(repeating: "0", count: 11 - text.count) + text).utf8.enumerated() {
                    block[offset + i] = b
                }
            }
            set(386, 4096)
            set(398, 512)
            set(410, 65_536)
            set(422, 512)
            set(483, 100_000)
        }
        let entries = try Self.entries(
            Self.archive {
                $0.add("old", type: "S", content: data, edit: map)
                $0.pax([
                    ("GNU.sparse.size", "100000"), ("GNU.sparse.numblocks", "2"), ("GNU.sparse.offset", "4096"),
                    ("GNU.sparse.numbytes", "512"), ("GNU.sparse.offset", "65536"), ("GNU.sparse.numbytes", "512"),
                ])
                $0.add("pax00", content: data)
                $0.pax([
                    ("GNU.sparse.name", "pax01"), ("GNU.sparse.size", "100000"),
                    ("GNU.sparse.map", "4096,512,65536,512"),
                ])
                $0.add("GNUSparseFile.0/x", content: data)
                $0.pax([
                    ("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0"), ("GNU.sparse.name", "pax10"),
                    ("GNU.sparse.realsize", "100000"),
                ])
                var map = Array("2\n4096\n512\n65536\n512\n".utf8)
                map += [UInt8](repeating: 0, count: 512 - map.count)
                $0.add("GNUSparseFile.0/x", content: map + data)
            })
        #expect(entries.map(\.path.description) == ["old", "pax00", "pax01", "pax10"])
        for entry in entries { #expect(entry.segments == wanted && entry.size == 100_000 && entry.dataBytes == 1024) }
    }

    @Test(arguments: ["4096,512,4096,512", "4096,512,100,512", "99999,512,0,512", "4096,512", "0,1024,1", "a,b"])
    func impossibleSparseMapsAreRefused(map: String) {
        let bytes = Self.archive {
            $0.pax([("GNU.sparse.name", "f"), ("GNU.sparse.size", "100000"), ("GNU.sparse.map", map)])
            $0.add("x", content: [UInt8](repeating: 7, count: 1024))
        }
        #expect(Self.refusal(bytes)?.kind == .malformed)
    }

    @Test func limitsHold() {
        var limits = ArchiveLimits()
        limits.entries = 10
        limits.dataBytes = 1000
        limits.depth = 3
        let few = Self.archive { tar in for index in 0..<10 { tar.add("f\(index)", content: [1]) } }
        #expect(Self.refusal(few, limits: limits) == nil)
        let many = Self.archive { tar in for index in 0..<21 { tar.add("f\(index)") } }
        #expect(Self.refusal(many, limits: limits)?.kind == .limit)
        let large = Self.archive { $0.add("f", content: [UInt8](repeating: 0, count: 1001)) }
        #expect(Self.refusal(large, limits: limits)?.kind == .limit)
        #expect(Self.refusal(Self.archive { $0.add("a/b/c") }, limits: limits) == nil)
        #expect(Self.refusal(Self.archive { $0.add("a/b/c/d") }, limits: limits)?.kind == .limit)
        let name = String(repeating: "n", count: 256)
        let long = Self.archive {
            $0.pax([("path", name)])
            $0.add("x")
        }
        #expect(Self.refusal(long)?.kind == .limit)
        // Its size is believed before a byte of it is kept.
        let header = Self.archive { $0.add("h", type: "x", size: 1 << 30) }
        #expect(Self.refusal(header)?.kind == .limit)
    }

    @Test func unknownTypesAreRefused() {
        for type in ["D", "M", "N", "A", "9"] as [Character] {
            #expect(Self.refusal(Self.archive { $0.add("a", type: type) })?.kind == .refused)
        }
    }

    @Test func anyBytesAreReadOrRefused() {
        // What is random seldom passes a checksum, so damage is put into good archives.
        let good = Self.archive {
            $0.pax([("path", "long/name"), ("mtime", "1.5"), ("SCHILY.xattr.user.k", "v")])
            $0.add("a", content: Array("content".utf8))
            $0.add("b", type: "1", link: "a")
            $0.add("S", type: "S", content: [], size: 0)
        }
        var generator = SystemRandomNumberGenerator()
        var refused = 0
        for _ in 0..<3000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...4, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            // The checksum is put right again, so that the fields behind it are looked at.
            for start in stride(from: 0, to: bytes.count - 1024, by: 512) where Bool.random(using: &generator) {
                for index in 148..<156 { bytes[start + index] = 32 }
                let sum = String(bytes[start..<start + 512].reduce(0) { $0 + Int($1) }, radix: 8)
                for (index, byte) in (String(repeating: "0", count: 6 - sum.count) + sum + "\0").utf8.enumerated() {
                    bytes[start + 148 + index] = byte
                }
            }
            if Self.refusal(bytes) != nil { refused += 1 }
        }
        #expect(refused > 100)
    }
}
