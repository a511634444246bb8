internal import Glibc

/// The running kernel's release, as `uname -r` prints it.
enum KernelRelease {
    static let current: String = {
        guard let file = fopen("/proc/sys/kernel/osrelease", "re") else { return "unknown" }
        defer { fclose(file) }
        var bytes = [UInt8](repeating: 0, count: 256)
        let count = fread(&bytes, 1, bytes.count, file)
        let line = bytes.prefix(count).prefix { $0 != UInt8(ascii: "\n") }
        return line.isEmpty ? "unknown" : String(decoding: line, as: UTF8.self)
    }()
}
