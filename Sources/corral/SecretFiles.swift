internal import ArgumentParser
internal import CorralAPI
internal import Glibc

/// Files that are given to a sandbox and kept nowhere.
enum SecretFiles {
    /// What corrald takes of one.
    private static let limit = 64 << 10

    /// From `NAME=FILE` each; nil when there are none. Content in base64 by its name.
    static func read(_ entries: [String]) throws -> [String: String]? {
        var secrets: [String: String] = [:]
        for entry in entries {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, !parts[0].isEmpty, !parts[1].isEmpty else {
                throw ValidationError("--secret: expected NAME=FILE")
            }
            guard secrets[parts[0]] == nil else { throw ValidationError("--secret: \(parts[0]) stands twice") }
            secrets[parts[0]] = Base64.text(try content(parts[1]))
        }
        return secrets.isEmpty ? nil : secrets
    }

    private static func content(_ path: String) throws -> [UInt8] {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(file: path, errno: errno) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        while try TextFile.append(to: &bytes, from: descriptor, path) {
            guard bytes.count <= limit else { throw Failure(file: path, errno: EFBIG) }
        }
        return bytes
    }
}
