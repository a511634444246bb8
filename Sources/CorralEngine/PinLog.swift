internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// By what names the addresses of one sandbox are open, in a file that the next daemon reads: the kernel keeps the pins
/// themselves, but not the names that they are for. One line a pin, appended; the newest of an address and a name counts.
///
/// The caller sees to it that one thread at a time uses it.
struct PinLog: Sendable {
    /// By address, names with the end of their pins (CLOCK_BOOTTIME, nanoseconds).
    typealias Pins = [IPAddress: [String: UInt64]]

    private let path: String
    private var lines = 0
    /// More lines than that may be many more than there are pins.
    private var limit = 1000

    init(path: String) {
        self.path = path
    }

    /// What was logged. Lines that are not whole are passed over: their writer was killed. Empty without a file.
    mutating func load() throws(FileError) -> Pins {
        guard try Files.status(path) != nil else { return [:] }
        var pins: Pins = [:]
        lines = 0
        for line in try Files.content(path).split(separator: UInt8(ascii: "\n")) {
            lines += 1
            let fields = String(decoding: line, as: UTF8.self).split(separator: " ", omittingEmptySubsequences: false)
            guard fields.count == 4, fields[3] == ".", let expires = UInt64(fields[0]),
                let address = IPAddress(String(fields[1])), !fields[2].isEmpty
            else { continue }
            pins[address, default: [:]][String(fields[2])] = expires
        }
        return pins
    }

    /// Appends one pin; `all` are those that hold, to which the file is cut down when it has grown far beyond them.
    mutating func add(_ address: IPAddress, _ name: String, expires: UInt64, all: Pins) throws(FileError) {
        if lines > limit {
            let most = max(1000, 4 * all.values.reduce(0) { $0 + $1.count })
            if lines > most { try rewrite(all) }
            limit = most
        }
        try append(Self.line(address, name, expires))
        lines += 1
    }

    func remove() {
        _ = unlink(path)
    }

    private mutating func rewrite(_ pins: Pins) throws(FileError) {
        var content: [UInt8] = []
        var written = 0
        for (address, names) in pins {
            for (name, expires) in names {
                content += Self.line(address, name, expires)
                written += 1
            }
        }
        try Files.replace(path, with: content, mode: 0o600)
        lines = written
    }

    /// The dot tells that the line is whole.
    private static func line(_ address: IPAddress, _ name: String, _ expires: UInt64) -> [UInt8] {
        Array("\(expires) \(address) \(name) .\n".utf8)
    }

    private func append(_ line: [UInt8]) throws(FileError) {
        let file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0o600)
        guard file >= 0 else { throw FileError(call: "open", path: path, errno: errno) }
        defer { close(file) }
        let length = line.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
        guard length == line.count else {
            throw FileError(call: "write", path: path, errno: length < 0 ? errno : ENOSPC)
        }
        crashPoint("names.logged")
    }
}
