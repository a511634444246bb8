internal import CorralEngine
internal import CorralPolicy
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
        self.allowTestSwitches = allowTestSwitches
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
