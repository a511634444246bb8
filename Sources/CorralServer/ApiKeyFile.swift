internal import CorralAPI
internal import FoundationEssentials
internal import Glibc

/// API keys as the next daemon finds them: one JSON file (0600), replaced as a whole.
struct ApiKeyFile: Sendable {
    private struct Document: Codable {
        /// Goes up when what stands here changes its meaning.
        var version: Int
        var keys: [ApiKeys.Entry]
    }

    struct Unreadable: Error, CustomStringConvertible {
        var description: String
    }

    private static let version = 1
    private static let largest = 4 << 20
    let directory: String
    var path: String { directory + "/api-keys.json" }

    init(directory: String) {
        self.directory = directory
    }

    /// Empty when there is no file. Throws when there is one that cannot be trusted or read.
    func load() throws -> [ApiKeys.Entry] {
        guard let status = try FileStatus(path: path) else { return [] }
        guard status.owner == geteuid(), status.mode & 0o022 == 0 else {
            throw Unreadable(description: "\(path): must belong to this user and be writable by nobody else")
        }
        let bytes = try read()
        let document: Document
        do {
            document = try JSONDecoder().decode(Document.self, from: Data(bytes))
        } catch {
            throw Unreadable(description: "\(path): \(error)")
        }
        guard document.version == Self.version else {
            throw Unreadable(
                description: "\(path): of version \(document.version); this corrald reads \(Self.version)")
        }
        return document.keys
    }

    /// Returns the new name.
    func setAside() throws -> String {
        let target = "\(path).damaged-\(time(nil))"
        guard rename(path, target) == 0 else { throw SystemCallError("rename", path) }
        return target
    }

    /// Blocks until it is on the disk.
    func save(_ keys: [ApiKeys.Entry]) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
        let bytes = Array(try encoder.encode(Document(version: Self.version, keys: keys))) + [UInt8(ascii: "\n")]
        let temporary = path + ".new"
        unlink(temporary)
        let descriptor = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard descriptor >= 0 else { throw SystemCallError("open", temporary) }
        defer { close(descriptor) }
        var rest = bytes[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
            guard count >= 0 || errno == EINTR else { throw SystemCallError("write", temporary) }
            rest = rest.dropFirst(max(0, count))
        }
        guard fsync(descriptor) == 0 else { throw SystemCallError("fsync", temporary) }
        guard rename(temporary, path) == 0 else { throw SystemCallError("rename", temporary) }
        let parent = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
        guard parent >= 0 else { throw SystemCallError("open", directory) }
        defer { close(parent) }
        guard fsync(parent) == 0 else { throw SystemCallError("fsync", directory) }
    }

    private func read() throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { throw SystemCallError("open", path) }
        defer { close(descriptor) }
        var content: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = Glibc.read(descriptor, &block, block.count)
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw SystemCallError("read", path) }
            if count == 0 { return content }
            content += block[..<count]
            guard content.count <= Self.largest else {
                throw Unreadable(description: "\(path): larger than \(Self.largest) bytes")
            }
        }
    }
}
