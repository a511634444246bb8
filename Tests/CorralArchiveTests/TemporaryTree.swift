import CorralArchive
import Glibc

/// A directory that goes when the test is over.
final class TemporaryTree {
    let path: String
    let handle: Handle

    init() throws {
        var template = Array("/tmp/corral-archive.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw ArchiveError(.system(errno), "mkdtemp") }
        path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        handle = try Handle(directory: path)
    }

    deinit {
        if let parent = try? Handle(directory: "/tmp") { try? parent.remove(FileName(String(path.dropFirst(5)))) }
    }

    func content(_ name: String) -> String? {
        let descriptor = open("\(path)/\(name)", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
        guard descriptor >= 0 else { return nil }
        defer { close(descriptor) }
        let bytes = [UInt8](unsafeUninitializedCapacity: 1 << 20) { buffer, count in
            count = max(0, read(descriptor, buffer.baseAddress, buffer.count))
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    func status(_ name: String) -> stat? {
        var status = stat()
        return lstat("\(path)/\(name)", &status) == 0 ? status : nil
    }

    func make(_ name: String, _ content: String = "", mode: UInt32 = 0o644) {
        let descriptor = open("\(path)/\(name)", O_WRONLY | O_CREAT | O_CLOEXEC, mode)
        _ = content.withCString { write(descriptor, $0, strlen($0)) }
        close(descriptor)
    }
}
