import CFiles
import CorralArchive
import Glibc
import Testing

@Suite struct TreeTests {
    static func extract(
        _ bytes: [UInt8], into tree: TemporaryTree, _ options: TreeExtractor.Options = .init(owner: .caller)
    ) throws -> TreeExtractor {
        let extractor = TreeExtractor(into: tree.handle, options)
        try TarReader(MemorySource(bytes)).copy(to: extractor)
        try extractor.finish()
        return extractor
    }

    static func refusal(
        _ bytes: [UInt8], into tree: TemporaryTree, _ options: TreeExtractor.Options = .init(owner: .caller)
    )
        -> ArchiveError?
    {
        do {
            _ = try extract(bytes, into: tree, options)
            return nil
        } catch {
            return error as? ArchiveError
        }
    }

    static func archive(_ build: (inout TarBytes) -> Void) -> [UInt8] { TarReaderTests.archive(build) }

    @Test func aTreeComesOutAsItWentIn() throws {
        let (from, to) = (try TemporaryTree(), try TemporaryTree())
        mkdir("\(from.path)/d", 0o755)
        from.make("d/file", "content", mode: 0o640)
        from.make("d/empty")
        link("\(from.path)/d/file", "\(from.path)/d/second")
        symlink("../../outside", "\(from.path)/d/link")
        mkfifo("\(from.path)/d/fifo", 0o600)
        chmod("\(from.path)/d/file", 0o4751)
        setxattr("\(from.path)/d/file", "user.note", "hi", 2, 0)
        let times = [
            timespec(tv_sec: 1_000_000_000, tv_nsec: 123_456_789),
            timespec(tv_sec: 1_000_000_000, tv_nsec: 123_456_789),
        ]
        utimensat(AT_FDCWD, "\(from.path)/d/file", times, 0)
        let sparse = open("\(from.path)/d/sparse", O_WRONLY | O_CREAT, 0o600)
        pwrite(sparse, "x", 1, 1 << 20)
        ftruncate(sparse, 4 << 20)
        close(sparse)

        var bytes: [UInt8] = []
        let writer = TarWriter { bytes += $0 }
        var packer = TreePacker(into: writer)
        try packer.pack(from.handle, as: .root)
        try writer.finish()
        #expect(bytes.count < 100_000)
        // Its output is the same each time.
        var again: [UInt8] = []
        let second = TarWriter { again += $0 }
        var repacker = TreePacker(into: second)
        try repacker.pack(from.handle, as: .root)
        try second.finish()
        #expect(bytes == again)

        _ = try Self.extract(bytes, into: to)
        #expect(to.content("d/file") == "content" && to.content("d/empty") == "")
        let file = try #require(to.status("d/file"))
        #expect(file.st_mode & 0o7777 == 0o4751 && file.st_nlink == 2)
        #expect(file.st_ino == to.status("d/second")?.st_ino)
        #expect(file.st_mtim.tv_sec == 1_000_000_000 && file.st_mtim.tv_nsec == 123_456_789)
        var value = [UInt8](repeating: 0, count: 8)
        #expect(getxattr("\(to.path)/d/file", "user.note", &value, 8) == 2)
        let hole = try #require(to.status("d/sparse"))
        #expect(hole.st_size == 4 << 20 && hole.st_blocks * 512 < 1 << 20)
        #expect(to.content("d/sparse")?.utf8.count == 1 << 20)
        #expect((try #require(to.status("d/fifo"))).st_mode & S_IFMT == S_IFIFO)
        #expect((try #require(to.status("d/link"))).st_mode & S_IFMT == S_IFLNK)
    }

    @Test func aLinkIsNeverADirectoryOfLaterEntries() throws {
        let (tree, outside) = (try TemporaryTree(), try TemporaryTree())
        let attack = Self.archive {
            $0.add("door", type: "2", link: outside.path)
            $0.add("door/planted", content: [1])
        }
        let error = Self.refusal(attack, into: tree)
        #expect(error?.kind == .refused && error?.entry == "door/planted")
        #expect(outside.status("planted") == nil)
        // With a directory of that name in between it is harmless, and taken.
        let twin = Self.archive {
            $0.add("hall", type: "2", link: outside.path)
            $0.add("hall", type: "5")
            $0.add("hall/planted", content: [1])
        }
        #expect(Self.refusal(twin, into: tree) == nil)
        #expect(outside.status("planted") == nil && tree.status("hall/planted") != nil)
    }

    @Test func aFileDoesNotWriteThroughALink() throws {
        let (tree, outside) = (try TemporaryTree(), try TemporaryTree())
        outside.make("victim", "old")
        let attack = Self.archive {
            $0.add("name", type: "2", link: "\(outside.path)/victim")
            $0.add("name", content: Array("new".utf8))
        }
        #expect(Self.refusal(attack, into: tree) == nil)
        #expect(outside.content("victim") == "old" && tree.content("name") == "new")
    }

    @Test func hardLinksStayInside() throws {
        let (tree, outside) = (try TemporaryTree(), try TemporaryTree())
        outside.make("secret", "old")
        let attack = Self.archive {
            $0.add("door", type: "2", link: outside.path)
            $0.add("stolen", type: "1", link: "door/secret")
        }
        #expect(Self.refusal(attack, into: tree)?.kind == .refused)
        #expect(tree.status("stolen") == nil && outside.status("secret")?.st_nlink == 1)
        #expect(Self.refusal(Self.archive { $0.add("a", type: "1", link: "nowhere") }, into: tree)?.kind == .refused)
        let twin = Self.archive {
            $0.add("here", content: [1])
            $0.add("same", type: "1", link: "here")
        }
        #expect(Self.refusal(twin, into: tree) == nil && tree.status("same")?.st_nlink == 2)
    }

    @Test func whatASandboxCannotUseIsLeftOutAndCounted() throws {
        let tree = try TemporaryTree()
        let extractor = try Self.extract(
            Self.archive {
                $0.add("null", type: "3")
                $0.add("disk", type: "4")
                $0.pax([("SCHILY.xattr.security.capability", "x"), ("SCHILY.xattr.user.overlay.opaque", "y")])
                $0.add("file")
            }, into: tree)
        #expect(extractor.omissions.devices == 2 && extractor.omissions.capabilities == 1)
        #expect(extractor.omissions.attributes == 1)
        #expect(tree.status("null") == nil && tree.status("file") != nil)
        #expect(getxattr("\(tree.path)/file", "user.overlay.opaque", nil, 0) < 0)
    }

    @Test func lastOneWinsWithinAnArchive() throws {
        let tree = try TemporaryTree()
        let bytes = Self.archive {
            $0.add("x/deep/file", content: [1])
            $0.add("x", content: Array("file".utf8))
            $0.add("y", content: [1])
            $0.add("y", type: "5")
            $0.add("y/below", content: [2])
        }
        _ = try Self.extract(bytes, into: tree)
        #expect(tree.content("x") == "file" && tree.status("y/below") != nil)
        // Not where somebody else's files are.
        let other = try TemporaryTree()
        let options = TreeExtractor.Options(owner: .caller, replacesDirectories: false)
        #expect(Self.refusal(bytes, into: other, options)?.kind == .refused)
        #expect(other.status("x/deep/file") != nil)
    }

    @Test func whiteoutsSpeakOfLayersBelowOnly() throws {
        let tree = try TemporaryTree()
        _ = try Self.extract(
            Self.archive {
                $0.add("gone", content: [1])
                $0.add("kept", content: [1])
                $0.add("d/old", content: [1])
                $0.add("e/old", content: [1])
            }, into: tree)
        let layer = Self.archive {
            $0.add("d/new", content: [2])
            $0.add("d/.wh..wh..opq")
            $0.add(".wh.gone")
            $0.add("e/.wh.old")
            $0.add("e/old", content: Array("again".utf8))
        }
        let whiteouts = LayerWhiteouts(root: tree.handle)
        let reader = TarReader(MemorySource(layer))
        while let entry = try reader.next() { try whiteouts.apply(entry) }
        _ = try Self.extract(layer, into: tree, .init(owner: .caller, whiteouts: .skipped))
        #expect(tree.status("gone") == nil && tree.status("kept") != nil)
        #expect(tree.status("d/old") == nil && tree.status("d/new") != nil)
        #expect(tree.content("e/old") == "again" && tree.status(".wh.gone") == nil)
        for name in [".wh.", ".wh...", ".wh..wh.x", ".wh.a/b"] {
            #expect(
                Self.refusal(Self.archive { $0.add(name) }, into: tree, .init(owner: .caller, whiteouts: .skipped))
                    != nil, "\(name)")
        }
    }

    @Test func whiteoutsDoNotReachThroughLinks() throws {
        let (tree, outside) = (try TemporaryTree(), try TemporaryTree())
        outside.make("victim", "old")
        symlink(outside.path, "\(tree.path)/door")
        let whiteouts = LayerWhiteouts(root: tree.handle)
        for name in ["door/.wh.victim", "door/.wh..wh..opq"] {
            let reader = TarReader(MemorySource(Self.archive { $0.add(name) }))
            while let entry = try reader.next() { try whiteouts.apply(entry) }
        }
        #expect(outside.content("victim") == "old")
    }

    @Test func oneTopEntryIsRenamedAndNoOther() throws {
        let tree = try TemporaryTree()
        let one = Self.archive {
            $0.add("old", type: "5")
            $0.add("old/file", content: [1])
            $0.add("old/same", type: "1", link: "old/file")
        }
        let extractor = TreeExtractor(into: tree.handle, .init(owner: .caller))
        try TarReader(MemorySource(one)).copy(to: RenamingSink(extractor, top: FileName("new")))
        #expect(tree.status("new/same")?.st_nlink == 2 && tree.status("old") == nil)
        let two = Self.archive {
            $0.add("a")
            $0.add("b")
        }
        #expect(throws: ArchiveError.self) {
            try TarReader(MemorySource(two)).copy(to: RenamingSink(extractor, top: FileName("c")))
        }
    }

    @Test func aPipeInThePlaceOfAFileMakesNobodyWait() throws {
        let tree = try TemporaryTree()
        mkfifo("\(tree.path)/pipe", 0o600)
        let descriptor = open("\(tree.path)/pipe", O_RDONLY | O_NONBLOCK)
        var packer = TreePacker(into: TarWriter { _ in })
        #expect(throws: ArchiveError.self) {
            try packer.packFile(Handle(owning: descriptor), as: ArchivePath(names: [FileName("pipe")]))
        }
    }

    @Test func kernelFileSystemsAreLeftOut() throws {
        var names: [String] = []
        let writer = TarWriter { _ in names.append("") }
        var packer = TreePacker(into: writer)
        try packer.pack(try Handle(directory: "/proc/self"), as: .root)
        #expect(names.isEmpty && packer.skipped == 1)
    }
}
