internal import FoundationEssentials
internal import Glibc

/// The enforced cgroups of an instance as the next daemon finds them: one JSON file, replaced as a whole.
struct EnforcementStore: Sendable {
    struct Record: Codable, Sendable, Equatable {
        var id: String
        var path: String
        var generation: UInt32
        var policy: PolicyText
    }

    private struct Document: Codable {
        /// Goes up when what stands here changes its meaning.
        var version: Int
        var enforced: [Record]
    }

    private static let version = 1
    let path: String

    init(stateDirectory: String) {
        path = stateDirectory + "/enforced.json"
    }

    /// Empty when there is no file. Throws when there is one that cannot be read: what it says is then in force still.
    func load() throws -> [Record] {
        guard try Files.status(path) != nil else { return [] }
        let document: Document
        do {
            document = try JSONDecoder().decode(Document.self, from: Data(Files.content(path)))
        } catch {
            throw EngineError(.internal, "\(path) cannot be read", detail: ["\(error)"])
        }
        guard document.version == Self.version else {
            throw EngineError(
                .internal, "\(path) is of version \(document.version); this corrald reads \(Self.version)")
        }
        return document.enforced
    }

    func save(_ records: [Record]) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        let bytes = Array(try encoder.encode(Document(version: Self.version, enforced: records)))
        try Files.replace(path, with: bytes, mode: 0o600)
    }
}
