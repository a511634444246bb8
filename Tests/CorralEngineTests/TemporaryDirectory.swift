import Glibc

@testable import CorralEngine

/// Removed with all that is in it when this value goes.
final class TemporaryDirectory: Sendable {
    let path: String

    init() throws {
        var template = Array("/tmp/corral-engine.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw FileError(call: "mkdtemp", path: "/tmp", errno: errno) }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    deinit {
        try? Files.removeTree(path)
    }
}
