internal import Glibc

/// Files that the user names.
enum TextFile {
    /// Largest policy file.
    static let limit = 64 << 20

    /// The whole file as text. Throws `Failure` with the file's name.
    static func read(_ path: String) throws -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(file: path, errno: errno) }
        defer { close(descriptor) }
        var bytes: [UInt8] = []
        while try append(to: &bytes, from: descriptor, path) {
            guard bytes.count <= limit else { throw Failure(file: path, errno: EFBIG) }
        }
        guard let text = String(validating: bytes, as: UTF8.self) else { throw Failure(file: path, errno: EILSEQ) }
        return text
    }

    /// The whole of `text` in place of what the file held.
    static func write(_ text: String, to path: String) throws {
        let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw Failure(file: path, errno: errno) }
        defer { close(descriptor) }
        var rest = Array(text.utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                rest = rest.dropFirst(count)
            } else if errno != EINTR {
                throw Failure(file: path, errno: errno)
            }
        }
    }

    /// One read(2); false at the end.
    static func append(to bytes: inout [UInt8], from descriptor: Int32, _ path: String) throws -> Bool {
        var buffer = [UInt8](repeating: 0, count: 64 << 10)
        while true {
            let count = buffer.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count >= 0 {
                bytes += buffer[..<count]
                return count > 0
            }
            guard errno == EINTR else { throw Failure(file: path, errno: errno) }
        }
    }
}
