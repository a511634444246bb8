/// A tree of files as a value: gathered first, then written in one go. Paths are relative and without `.` and `..`.
struct FileTree: Equatable {
    enum Entry: Equatable {
        case directory(mode: UInt32)
        case file([UInt8])
        case link(String)
    }

    private(set) var entries: [String: Entry] = [:]

    /// Parents that are missing are added with mode 0755.
    mutating func directory(_ path: String, mode: UInt32 = 0o755) {
        addParents(of: path)
        entries[path] = .directory(mode: mode)
    }

    mutating func file(_ path: String, _ content: [UInt8]) {
        addParents(of: path)
        entries[path] = .file(content)
    }

    mutating func file(_ path: String, _ content: String) {
        file(path, Array(content.utf8))
    }

    mutating func link(_ path: String, to target: String) {
        addParents(of: path)
        entries[path] = .link(target)
    }

    private mutating func addParents(of path: String) {
        var end = path.startIndex
        while let slash = path[end...].firstIndex(of: "/") {
            let parent = String(path[..<slash])
            if entries[parent] == nil { entries[parent] = .directory(mode: 0o755) }
            end = path.index(after: slash)
        }
    }

    /// Parents before their children.
    private var ordered: [(path: String, entry: Entry)] {
        entries.sorted { $0.key < $1.key }.map { (path: $0.key, entry: $0.value) }
    }

    /// 16 hexadecimal digits that differ where two trees differ (FNV-1a; tells versions apart, proves nothing).
    var fingerprint: String {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        func add(_ bytes: some Sequence<UInt8>) {
            for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3 }
        }
        for (path, entry) in ordered {
            add(path.utf8)
            switch entry {
            case .directory(let mode): add("\0d\(mode)\0".utf8)
            case .link(let target): add("\0l\(target)\0".utf8)
            case .file(let content):
                add("\0f\(content.count)\0".utf8)
                add(content)
            }
        }
        let digits = String(hash, radix: 16)
        return String(repeating: "0", count: 16 - digits.count) + digits
    }

    /// Writes the tree to the new directory `root`. On an error what was written is left there.
    func write(to root: String) throws(FileError) {
        try Files.makeDirectory(root, mode: 0o755)
        for (path, entry) in ordered {
            let path = "\(root)/\(path)"
            switch entry {
            case .directory(let mode): try Files.makeDirectory(path, mode: mode)
            case .link(let target): try Files.makeLink(path, to: target)
            case .file(let content): try Files.write(path, content, mode: 0o644)
            }
        }
    }
}
