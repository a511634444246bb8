internal import CLinux
internal import Glibc

/// Reading and writing cgroup files, and removing cgroup directories.
enum CgroupFile {
    static func exists(_ path: String) -> Bool { access(path, F_OK) == 0 }

    static func read(_ path: String) throws(KernelError) -> String {
        let file = try FileDescriptor.open(path, O_RDONLY)
        let raw = file.raw
        var content: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = try systemCall("read", on: path) { Glibc.read(raw, &buffer, buffer.count) }
            if count == 0 { return String(decoding: content, as: UTF8.self) }
            content += buffer.prefix(count)
        }
    }

    static func write(_ value: String, to path: String) throws(KernelError) {
        let file = try FileDescriptor.open(path, O_WRONLY)
        let raw = file.raw
        let bytes = Array(value.utf8)
        try systemCall("write '\(value)'", on: path) { Glibc.write(raw, bytes, bytes.count) }
    }

    /// Whether it was made now.
    @discardableResult
    static func makeDirectory(_ path: String) throws(KernelError) -> Bool {
        do throws(KernelError) {
            try systemCall("mkdir", on: path) { mkdir(path, 0o755) }
            return true
        } catch {
            if error.errno == EEXIST { return false }
            throw error
        }
    }

    /// Directories below `path`; none when it does not exist.
    static func directories(in path: String) throws(KernelError) -> [String] {
        guard let stream = opendir(path) else {
            if errno == ENOENT { return [] }
            throw KernelError(call: "opendir", subject: path, errno: errno)
        }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            guard entry.pointee.d_type == UInt8(DT_DIR) else { continue }
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            if name != ".", name != ".." { names.append(name) }
        }
        return names
    }

    /// rmdir; tolerates that it is gone, and waits up to five seconds for killed processes to leave.
    static func remove(_ path: String) throws(KernelError) {
        let deadline = corral_boottime_ns() &+ 5_000_000_000
        while rmdir(path) != 0 {
            let number = errno
            if number == ENOENT { return }
            guard number == EBUSY || number == EINTR, corral_boottime_ns() < deadline else {
                throw KernelError(call: "rmdir", subject: path, errno: number)
            }
            usleep(1000)
        }
    }

    static func removeTree(_ path: String) throws(KernelError) {
        for name in try directories(in: path) { try removeTree("\(path)/\(name)") }
        try remove(path)
    }
}
