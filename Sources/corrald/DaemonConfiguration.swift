internal import CorralEngine
internal import CorralPolicy
internal import CorralServer
internal import Logging

/// All that corrald can be told, checked.
struct DaemonConfiguration: Equatable {
    enum LogFormat: String, CaseIterable {
        case text
        case json
    }

    var instance: String
    var stateDirectory: String
    var runDirectory: String
    var subnet: IPPrefix
    var subnet6: IPPrefix
    var pool: Int
    /// Nil: `pool`.
    var poolLow: Int?
    var poolRate: Int
    var logLevel: Logger.Level
    var logFormat: LogFormat
    var names: NameConfiguration
    var journal: JournalConfiguration
    var mounts: [MountAllowance]
    var socketOwner: String
    var socketGroup: String
    /// Nil: chosen by whether the group exists.
    var socketMode: UInt32?
    var socketReaders: String
    var listen: [ListenAddress]
    /// Paths of PEM files; nil: without TLS.
    var tls: TLSFiles?
    /// `connections` of 0: chosen by how many files this process may have open.
    var limits: ConnectionLimits
    var allowTestSwitches: Bool

    var socketPath: String { runDirectory + "/corral.sock" }

    /// Takes each setting from the flags, else from the file, else its default.
    init(flags: Settings, file: Settings, allowTestSwitches: Bool = false) throws(SettingError) {
        func text(_ key: SettingKey, _ fallback: String) -> Setting {
            flags[key] ?? file[key] ?? Setting(key: key, value: fallback, origin: "default")
        }
        instance = try text(.instance, "default").instanceName()
        stateDirectory = try text(.stateDirectory, "/var/lib/corral/" + instance).directory()
        runDirectory = try text(.runDirectory, "/run/corral").directory()
        subnet = try text(.subnet, "10.213.0.0/16").subnet()
        subnet6 = try text(.subnet6, "fdc0:44a1:213::/64").subnet6()
        pool = try text(.pool, "8").poolSize()
        let low = text(.poolLow, "")
        poolLow = low.value.isEmpty ? nil : try low.poolSize()
        guard (poolLow ?? 0) <= pool else {
            throw low.refuse(expected: "at most pool, \(pool)")
        }
        poolRate = try text(.poolRate, "200").rate()
        logLevel = try text(.logLevel, "info").word("a log level", Logger.Level.allCases)
        logFormat = try text(.logFormat, "text").word("a log format", LogFormat.allCases)
        names = NameConfiguration(
            servers: try text(.dnsServers, "").nameServers(), ttlFloor: try text(.dnsTTLFloor, "30").seconds(),
            ttlCeiling: try text(.dnsTTLCeiling, "3600").seconds(), grace: try text(.dnsGrace, "60").seconds()
        )
        guard names.ttlFloor <= names.ttlCeiling else {
            throw SettingError("dns-ttl-floor: \(names.ttlFloor) is more than dns-ttl-ceiling, \(names.ttlCeiling)")
        }
        journal = JournalConfiguration(
            sync: try text(.auditSync, "interval").word("a sync policy", JournalConfiguration.Sync.allCases),
            fileBytes: try text(.auditFileSize, "64MiB").size(atLeast: 64 << 10),
            fileAge: try text(.auditFileAge, "1d").duration(),
            keepBytes: try text(.auditKeepSize, "1GiB").size(atLeast: 64 << 10),
            keepAge: try text(.auditKeepAge, "90d").duration()
        )
        mounts = try text(.mounts, "").mountAllowances()
        guard journal.fileBytes <= journal.keepBytes else {
            throw SettingError("audit-keep-size: less than audit-file-size, which is the least that can be kept")
        }
        socketOwner = try text(.socketOwner, "").accountName()
        socketGroup = try text(.socketGroup, "").accountName()
        socketMode = try text(.socketMode, "").socketMode()
        socketReaders = try text(.socketReaders, "").accountName()
        listen = try text(.listen, "").listenAddresses()
        let (certificate, key) = (text(.tlsCertificate, ""), text(.tlsKey, ""))
        switch (certificate.value.isEmpty, key.value.isEmpty) {
        case (true, true): tls = nil
        case (false, false): tls = TLSFiles(certificate: try certificate.directory(), key: try key.directory())
        default: throw SettingError("tls-certificate and tls-key: expected both or neither")
        }
        if tls == nil, let open = listen.first(where: { !$0.isLoopback }) {
            throw SettingError(
                "listen: \(open) can be reached from other machines: expected tls-certificate and tls-key, or 127.0.0.1 or [::1]"
            )
        }
        limits = ConnectionLimits(
            connections: try text(.maxConnections, "0").count(0...1_000_000, "0 for as many as open files allow"),
            connectionsPerClient: try text(.maxConnectionsPerClient, "4096").count(1...1_000_000),
            streamsPerClient: try text(.maxStreamsPerClient, "2048").count(1...1_000_000),
            headerSize: Int(try text(.maxHeaderSize, "32KiB").size(atLeast: 4 << 10, atMost: 1 << 20)),
            bodySize: Int(try text(.maxBodySize, "16MiB").size(atLeast: 64 << 10, atMost: 16 << 20)),
            headerTimeout: try text(.headerTimeout, "10s").duration(),
            idleTimeout: try text(.idleTimeout, "1m").duration()
        )
        self.allowTestSwitches = allowTestSwitches
    }

    struct TLSFiles: Equatable {
        var certificate: String
        var key: String
    }
}

/// Names of the settings, the same as flags and in the file.
enum SettingKey: String, CaseIterable {
    case instance
    case stateDirectory = "state-dir"
    case runDirectory = "run-dir"
    case subnet
    case subnet6
    case pool
    case poolLow = "pool-low"
    case poolRate = "pool-rate"
    case dnsServers = "dns-servers"
    case dnsTTLFloor = "dns-ttl-floor"
    case dnsTTLCeiling = "dns-ttl-ceiling"
    case dnsGrace = "dns-grace"
    case mounts
    case auditSync = "audit-sync"
    case auditFileSize = "audit-file-size"
    case auditFileAge = "audit-file-age"
    case auditKeepSize = "audit-keep-size"
    case auditKeepAge = "audit-keep-age"
    case socketOwner = "socket-owner"
    case socketGroup = "socket-group"
    case socketMode = "socket-mode"
    case socketReaders = "socket-readers"
    case listen
    case tlsCertificate = "tls-certificate"
    case tlsKey = "tls-key"
    case maxConnections = "max-connections"
    case maxConnectionsPerClient = "max-connections-per-client"
    case maxStreamsPerClient = "max-streams-per-client"
    case maxHeaderSize = "max-header-size"
    case maxBodySize = "max-body-size"
    case headerTimeout = "header-timeout"
    case idleTimeout = "idle-timeout"
    case logLevel = "log-level"
    case logFormat = "log-format"
}

/// One setting as it was written, and where.
struct Setting: Equatable {
    var key: SettingKey
    var value: String
    /// `--pool`, `corrald.yaml:3` or `default`.
    var origin: String
}

typealias Settings = [SettingKey: Setting]

struct SettingError: Error, Equatable, CustomStringConvertible {
    var description: String

    init(_ description: String) {
        self.description = description
    }
}

extension Setting {
    fileprivate func refuse(expected: String) -> SettingError {
        let place = origin.hasPrefix("--") ? origin : "\(origin): \(key.rawValue)"
        return SettingError("\(place): \"\(value)\" is not \(expected)")
    }

    func instanceName() throws(SettingError) -> String {
        let isName =
            (1...16).contains(value.utf8.count)
            && value.utf8.allSatisfy { byte in
                (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte)
                    || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte)
                    || byte == UInt8(ascii: "-")
            }
        guard isName else { throw refuse(expected: "an instance name: 1 to 16 of a-z, 0-9 and -") }
        return value
    }

    /// Without a slash at the end.
    func directory() throws(SettingError) -> String {
        guard value.hasPrefix("/"), !value.utf8.contains(0),
            !value.split(separator: "/").contains(where: { $0 == "." || $0 == ".." })
        else { throw refuse(expected: "an absolute path without . and ..") }
        let path = "/" + value.split(separator: "/").joined(separator: "/")
        guard path != "/" else { throw refuse(expected: "a directory of its own") }
        return path
    }

    func subnet() throws(SettingError) -> IPPrefix {
        guard let prefix = IPPrefix(value), prefix.address.ipv4 != nil, (16...28).contains(prefix.length - 96) else {
            throw refuse(expected: "an IPv4 network of /16 to /28, such as 10.213.0.0/16")
        }
        return prefix
    }

    func subnet6() throws(SettingError) -> IPPrefix {
        guard let prefix = IPPrefix(value), prefix.address.ipv4 == nil, (64...112).contains(prefix.length),
            prefix.address.high >> 57 == 0xfc >> 1
        else {
            throw refuse(
                expected: "a network of unique local addresses (fc00::/7) of /64 to /112, such as fdc0:44a1:213::/64")
        }
        return prefix
    }

    func poolSize() throws(SettingError) -> Int {
        guard let count = Int(value), (0...16_384).contains(count) else {
            throw refuse(expected: "a number from 0 to 16384")
        }
        return count
    }

    func rate() throws(SettingError) -> Int {
        guard let count = Int(value), (1...10_000).contains(count) else {
            throw refuse(expected: "a number from 1 to 10000")
        }
        return count
    }

    /// Separated by commas; empty: none.
    func nameServers() throws(SettingError) -> [String] {
        var servers: [String] = []
        for part in value.split(separator: ",", omittingEmptySubsequences: false) {
            let server = part.drop { $0 == " " }
            if value.isEmpty { break }
            guard NameConfiguration.isServer(String(server)), servers.count < 8 else {
                throw refuse(
                    expected:
                        "up to 8 name servers separated by commas, such as 9.9.9.9, 9.9.9.9:5353 or [2620:fe::fe]:53")
            }
            servers.append(String(server))
        }
        return servers
    }

    /// Directories separated by commas, `:rw` behind those that sandboxes may write to; empty: none.
    func mountAllowances() throws(SettingError) -> [MountAllowance] {
        var allowances: [MountAllowance] = []
        for part in value.split(separator: ",", omittingEmptySubsequences: false) {
            if value.isEmpty { break }
            var path = String(part.drop { $0 == " " })
            let write = path.hasSuffix(":rw")
            if write || path.hasSuffix(":ro") { path = String(path.dropLast(3)) }
            guard Policy.Files.Mount.isPath(path) else {
                throw refuse(
                    expected: "absolute paths without . and .., separated by commas, such as /srv/data, /srv/out:rw")
            }
            allowances.append(MountAllowance(path: path, write: write))
        }
        return allowances
    }

    func seconds() throws(SettingError) -> UInt32 {
        guard value.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let seconds = UInt32(value), seconds <= 604_800
        else {
            throw refuse(expected: "a number of seconds from 0 to 604800")
        }
        return seconds
    }

    func size(atLeast least: UInt64) throws(SettingError) -> UInt64 {
        guard let bytes = ByteSize.parse(value), (least...1 << 50).contains(bytes) else {
            throw refuse(expected: "a size of at least \(ByteSize.text(least)), such as 64MiB")
        }
        return bytes
    }

    func size(atLeast least: UInt64, atMost most: UInt64) throws(SettingError) -> UInt64 {
        guard let bytes = ByteSize.parse(value), (least...most).contains(bytes) else {
            throw refuse(expected: "a size of \(ByteSize.text(least)) to \(ByteSize.text(most))")
        }
        return bytes
    }

    func count(_ range: ClosedRange<Int>, _ note: String? = nil) throws(SettingError) -> Int {
        guard value.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let count = Int(value), range.contains(count)
        else {
            throw refuse(
                expected: "a number from \(range.lowerBound) to \(range.upperBound)" + (note.map { ", \($0)" } ?? ""))
        }
        return count
    }

    /// Of a user or a group; empty: none.
    func accountName() throws(SettingError) -> String {
        guard value.utf8.count <= 32,
            value.utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: ":") && $0 != UInt8(ascii: "/") })
        else { throw refuse(expected: "the name of a user or a group") }
        return value
    }

    /// Empty: none.
    func socketMode() throws(SettingError) -> UInt32? {
        if value.isEmpty { return nil }
        guard (3...4).contains(value.utf8.count), let mode = UInt32(value, radix: 8),
            mode == 0o600 || mode == 0o660
        else { throw refuse(expected: "0600 or 0660: others must not be let in") }
        return mode
    }

    /// Separated by commas; empty: none.
    func listenAddresses() throws(SettingError) -> [ListenAddress] {
        var addresses: [ListenAddress] = []
        if value.isEmpty { return [] }
        for part in value.split(separator: ",", omittingEmptySubsequences: false) {
            guard let address = ListenAddress(String(part.drop { $0 == " " })), address.port > 0, addresses.count < 8
            else {
                throw refuse(expected: "up to 8 addresses separated by commas, such as 127.0.0.1:7070 or [::1]:7070")
            }
            addresses.append(address)
        }
        return addresses
    }

    func duration() throws(SettingError) -> Duration {
        guard let duration = DurationText.parse(value), duration >= .seconds(1) else {
            throw refuse(expected: "a duration of a second to a year, such as 12h or 90d")
        }
        return duration
    }

    func word<Word: RawRepresentable<String>>(_ what: String, _ all: [Word]) throws(SettingError) -> Word {
        guard let word = Word(rawValue: value) else {
            throw refuse(expected: "\(what): \(all.map(\.rawValue).joined(separator: ", "))")
        }
        return word
    }
}
