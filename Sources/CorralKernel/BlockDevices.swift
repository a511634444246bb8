internal import Glibc

/// The host's disks.
enum BlockDevices {
    /// `8:0`, one for each whole disk; loop devices and disks of memory are none.
    static func disks() -> [String] {
        guard let stream = opendir("/sys/block") else { return [] }
        defer { closedir(stream) }
        var numbers: [String] = []
        while let entry = readdir(stream) {
            let name = withUnsafePointer(to: &entry.pointee.d_name) { pointer in
                pointer.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
            }
            guard !name.hasPrefix("."), !["loop", "ram", "zram"].contains(where: { name.hasPrefix($0) }),
                let number = try? CgroupFile.read("/sys/block/\(name)/dev").split(separator: "\n").first
            else { continue }
            numbers.append(String(number))
        }
        return numbers.sorted()
    }
}
