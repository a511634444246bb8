internal import CorralArchive
internal import Glibc

/// Who an image's commands are, by its `USER` and its own user database, as Docker reads them: `USER[:GROUP]`, names or numbers.
struct ImageUser: Codable, Sendable, Equatable {
    var uid: UInt32
    var gid: UInt32
    /// What HOME is to be.
    var home: String

    /// - Parameters:
    ///   - passwd, group: the content of `/etc/passwd` and `/etc/group`.
    /// - Returns: nil for a name that they do not know, and for numbers that no sandbox has.
    init?(_ text: String, passwd: String, group: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
        guard parts.count <= 2, !parts[0].isEmpty else { return nil }
        let users = Self.rows(passwd, atLeast: 6)
        let user = users.first { $0[0] == parts[0] } ?? users.first { $0[2] == parts[0] }
        guard let uid = Self.number(user?[2] ?? parts[0]) else { return nil }
        self.uid = uid
        home = user.map { $0[5] }.flatMap { $0.hasPrefix("/") ? $0 : nil } ?? "/"
        if parts.count == 2, !parts[1].isEmpty {
            let named = Self.rows(group, atLeast: 3).first { $0[0] == parts[1] }
            guard let gid = Self.number(named?[2] ?? parts[1]) else { return nil }
            self.gid = gid
        } else if let user {
            guard let gid = Self.number(user[3]) else { return nil }
            self.gid = gid
        } else {
            gid = 0
        }
    }

    /// From the files below `root`, whose links are not followed.
    init?(_ text: String, in root: Handle) {
        self.init(text, passwd: Self.read("passwd", root) ?? "", group: Self.read("group", root) ?? "")
    }

    private static let mostBytes = 1 << 20

    private static func rows(_ text: String, atLeast count: Int) -> [[String]] {
        text.split(whereSeparator: \.isNewline).compactMap { line in
            let fields = line.split(separator: ":", omittingEmptySubsequences: false).map(String.init)
            return fields.count >= count ? fields : nil
        }
    }

    private static func number(_ text: String) -> UInt32? {
        guard text.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = UInt32(text) else { return nil }
        return number <= CommandUser.largest ? number : nil
    }

    private static func read(_ name: String, _ root: Handle) -> String? {
        let below = openat(root.descriptor, "etc", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        guard below >= 0 else { return nil }
        let etc = Handle(owning: below)
        let raw = openat(etc.descriptor, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard raw >= 0 else { return nil }
        let file = Handle(owning: raw)
        var status = stat()
        guard fstat(file.descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG,
            (0...off_t(mostBytes)).contains(status.st_size)
        else { return nil }
        var content = [UInt8](repeating: 0, count: Int(status.st_size))
        let length = content.withUnsafeMutableBytes { Glibc.read(file.descriptor, $0.baseAddress, $0.count) }
        return length < 0 ? nil : String(decoding: content[..<length], as: UTF8.self)
    }
}
