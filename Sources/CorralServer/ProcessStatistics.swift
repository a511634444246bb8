internal import Glibc

/// What the kernel says of this process (proc(5)).
struct ProcessStatistics: Sendable {
    var cpuSeconds: Double
    var residentBytes: UInt64
    var virtualBytes: UInt64
    /// Seconds since 1970.
    var startTime: Double
    var openDescriptors: Int
    var mostDescriptors: UInt64
    var threads: Int

    /// Nil where /proc cannot be read.
    init?() {
        guard let stat = Self.text("/proc/self/stat"), let nameEnd = stat.lastIndex(of: ")"),
            let bootTime = Self.text("/proc/stat").flatMap({ Self.number(after: "btime ", in: $0) })
        else { return nil }
        // The third field follows the name, which may hold blanks.
        let fields = stat[stat.index(after: nameEnd)...].split(separator: " ").map { Double($0) ?? 0 }
        let ticks = Double(sysconf(Int32(_SC_CLK_TCK)))
        guard fields.count > 21, ticks > 0 else { return nil }
        cpuSeconds = (fields[11] + fields[12]) / ticks
        threads = Int(exactly: fields[17]) ?? 0
        startTime = Double(bootTime) + fields[19] / ticks
        virtualBytes = UInt64(exactly: fields[20]) ?? 0
        residentBytes = (UInt64(exactly: fields[21]) ?? 0) &* UInt64(max(0, sysconf(Int32(_SC_PAGESIZE))))
        openDescriptors = Self.entries("/proc/self/fd")
        var limit = rlimit()
        let isKnown = getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0
        mostDescriptors = isKnown ? UInt64(limit.rlim_cur) : 0
    }

    private static func text(_ path: String) -> String? {
        guard let file = fopen(path, "re") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        var block = [UInt8](repeating: 0, count: 16 << 10)
        while true {
            let count = fread(&block, 1, block.count, file)
            if count == 0 { return String(decoding: bytes, as: UTF8.self) }
            bytes += block[..<count]
        }
    }

    private static func number(after key: String, in text: String) -> UInt64? {
        for line in text.split(separator: "\n") where line.hasPrefix(key) { return UInt64(line.dropFirst(key.count)) }
        return nil
    }

    /// Without the one that this look takes.
    private static func entries(_ directory: String) -> Int {
        guard let stream = opendir(directory) else { return 0 }
        defer { closedir(stream) }
        var count = -3
        while readdir(stream) != nil { count += 1 }
        return max(0, count)
    }
}
