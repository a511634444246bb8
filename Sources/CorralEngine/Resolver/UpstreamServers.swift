internal import Glibc
internal import Synchronization

/// Where permitted queries go.
final class UpstreamServers: Sendable {
    private enum Source: Sendable {
        case fixed([DNSEndpoint])
        case file(String)
    }

    private struct Reading: Sendable {
        var servers: [DNSEndpoint] = []
        var lookedAt: ContinuousClock.Instant?
        /// Of the file, nanoseconds since 1970.
        var modified: Int64?
    }

    private let source: Source
    private let reading = Mutex(Reading())
    /// A file is looked at no more often.
    private static let interval: Duration = .seconds(5)
    /// Octets of a file that are read.
    private static let longestFile = 65_536

    init(_ servers: [DNSEndpoint]) {
        source = .fixed(servers)
    }

    /// The host's own, from a file as resolv.conf(5) describes it; read again when it changes.
    init(resolvConf path: String = "/etc/resolv.conf") {
        source = .file(path)
    }

    /// In the order of preference; empty when there is none.
    func current(now: ContinuousClock.Instant = .now) -> [DNSEndpoint] {
        switch source {
        case .fixed(let servers): servers
        case .file(let path):
            reading.withLock { reading in
                if let lookedAt = reading.lookedAt, lookedAt.duration(to: now) < Self.interval {
                    return reading.servers
                }
                reading.lookedAt = now
                var status = stat()
                // While it is being replaced, the servers read last go on.
                guard stat(path, &status) == 0 else { return reading.servers }
                let modified = Int64(status.st_mtim.tv_sec) &* 1_000_000_000 &+ Int64(status.st_mtim.tv_nsec)
                if modified != reading.modified, let bytes = Self.read(path) {
                    reading.modified = modified
                    reading.servers = ResolvConf.servers(in: bytes)
                }
                return reading.servers
            }
        }
    }

    private static func read(_ path: String) -> [UInt8]? {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        return [UInt8](unsafeUninitializedCapacity: longestFile) { buffer, count in
            while count < buffer.count {
                let got = Glibc.read(file, buffer.baseAddress.map { $0 + count }, buffer.count - count)
                guard got > 0 else { break }
                count += got
            }
        }
    }
}

/// The file format of resolv.conf(5), as far as it names servers.
enum ResolvConf {
    /// More than glibc asks (3); a bound all the same.
    static let mostServers = 8

    /// In the file's order, each once; the host itself when the file names none, as resolv.conf(5) says.
    static func servers(in text: [UInt8]) -> [DNSEndpoint] {
        var servers: [DNSEndpoint] = []
        for line in text.split(separator: UInt8(ascii: "\n")) {
            if line.first == UInt8(ascii: "#") || line.first == UInt8(ascii: ";") { continue }
            let words = line.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: "\t") || $0 == UInt8(ascii: "\r") }
            guard words.count >= 2, words[0].elementsEqual("nameserver".utf8) else { continue }
            // No port stands in this file.
            let text = String(decoding: words[1], as: UTF8.self)
            guard let server = DNSEndpoint(text.contains(":") ? "[\(text)]" : text), !servers.contains(server),
                servers.count < mostServers
            else { continue }
            servers.append(server)
        }
        guard servers.isEmpty else { return servers }
        return ["127.0.0.1"].compactMap { DNSEndpoint($0) }
    }
}
