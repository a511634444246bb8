internal import ArgumentParser
internal import CorralAPI
internal import CorralEngine
internal import CorralServer
internal import Glibc
internal import Logging
internal import ServiceLifecycle
internal import UnixSignals

@main
struct Corrald: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "corrald", abstract: "Keeps the sandboxes of this host and serves the Corral API.",
        version: Release.version
    )

    @Option(help: "Read settings from this YAML file. Flags win over it.")
    var config: String?

    @Option(help: "Name of this instance (default: default).")
    var instance: String?

    @Option(help: "Keep state here (default: /var/lib/corral/INSTANCE).")
    var stateDir: String?

    @Option(help: "Make the socket corral.sock here (default: /run/corral).")
    var runDir: String?

    @Option(help: "IPv4 addresses for sandboxes, /16 to /28 (default: 10.213.0.0/16).")
    var subnet: String?

    @Option(help: "IPv6 addresses for sandboxes, /64 to /112 (default: fdc0:44a1:213::/64).")
    var subnet6: String?

    @Option(help: "Warm sandboxes to keep ready of each image in use (default: 8).")
    var pool: String?

    @Option(help: "Refill the pool when it holds fewer than this (default: --pool).")
    var poolLow: String?

    @Option(help: "Make at most so many sandboxes for the pool in a second (default: 200).")
    var poolRate: String?

    @Option(
        help: "Name servers that resolve for sandboxes, separated by commas (default: those of /etc/resolv.conf).")
    var dnsServers: String?

    @Option(
        name: .customLong("dns-ttl-floor"), help: "Seconds that an answer holds in a sandbox at least (default: 30).")
    var dnsTTLFloor: String?

    @Option(
        name: .customLong("dns-ttl-ceiling"), help: "Seconds that an answer holds in a sandbox at most (default: 3600)."
    )
    var dnsTTLCeiling: String?

    @Option(help: "Seconds that an address stays open after its answer has ended (default: 60).")
    var dnsGrace: String?

    @Option(
        help: ArgumentHelp(
            "Directories that policies may mount into sandboxes, separated by commas, :rw behind those they may write to (default: none).",
            valueName: "path[:rw],…"))
    var mounts: String?

    @Option(help: "When audit records are forced to the disk: always, interval or never (default: interval).")
    var auditSync: String?

    @Option(help: "Begin a new audit file when one holds this much (default: 64MiB).")
    var auditFileSize: String?

    @Option(help: "Begin a new audit file when one is this old (default: 1d).")
    var auditFileAge: String?

    @Option(help: "Remove the oldest audit files when all hold more than this (default: 1GiB).")
    var auditKeepSize: String?

    @Option(help: "Remove audit files that are older than this (default: 90d).")
    var auditKeepAge: String?

    @Option(help: "User that the socket belongs to (default: the one that corrald runs as).")
    var socketOwner: String?

    @Option(help: "Group whose members may do everything (default: corral, where there is one).")
    var socketGroup: String?

    @Option(help: "Mode of the socket, 0600 or 0660 (default: 0660 where there is a group, else 0600).")
    var socketMode: String?

    @Option(help: "Group whose members may look, by a socket of its own, corral-read.sock (default: none).")
    var socketReaders: String?

    @Option(
        help:
            "Serve holders of API keys here, such as 127.0.0.1:7070,[::1]:7070; other addresses need TLS (default: none)."
    )
    var listen: String?

    @Option(help: "PEM file with the certificate for --listen and those that lead to its root (default: no TLS).")
    var tlsCertificate: String?

    @Option(help: "PEM file with its private key.")
    var tlsKey: String?

    @Option(help: "Connections in all; 0 for a fifth of the files that may be open (default: 0).")
    var maxConnections: String?

    @Option(help: "Connections of one user or address (default: 4096, and three quarters of all at most).")
    var maxConnectionsPerClient: String?

    @Option(help: "Attached commands, event streams and traces of one user or address (default: 2048).")
    var maxStreamsPerClient: String?

    @Option(help: "Size of a request's line and fields (default: 32KiB).")
    var maxHeaderSize: String?

    @Option(help: "Size of a request's body, where it is read whole (default: 16MiB).")
    var maxBodySize: String?

    @Option(help: "How long a request's line and fields may take (default: 10s).")
    var headerTimeout: String?

    @Option(help: "How long nothing may come, between requests or within one (default: 1m).")
    var idleTimeout: String?

    @Option(help: "trace, debug, info, notice, warning, error or critical (default: info).")
    var logLevel: String?

    @Option(help: "text or json (default: text).")
    var logFormat: String?

    @Flag(help: "Check the settings and exit.")
    var check = false

    @Flag(help: .hidden)
    var allowTestSwitches = false

    @Option(help: .hidden)
    var testObjects: String?

    func run() async throws {
        let settings: DaemonConfiguration
        do throws(SettingError) {
            settings = try DaemonConfiguration(
                flags: flags, file: try config.map(ConfigurationFile.read) ?? [:], allowTestSwitches: allowTestSwitches
            )
        } catch {
            HostProcess.printError(error.description)
            throw ExitCode(2)
        }
        if check {
            print("corrald: the settings are good")
            return
        }
        let descriptors = HostProcess.prepare()
        let logger = Self.logger(settings)
        do {
            try await Daemon(
                settings: settings, descriptors: descriptors, logger: logger, testObjects: testObjects
            ).run()
        } catch {
            HostProcess.printError("\(error)")
            throw ExitCode.failure
        }
    }

    private var flags: Settings {
        let given: [(SettingKey, String?)] = [
            (.instance, instance), (.stateDirectory, stateDir), (.runDirectory, runDir), (.subnet, subnet),
            (.subnet6, subnet6), (.pool, pool), (.poolLow, poolLow), (.poolRate, poolRate), (.mounts, mounts),
            (.dnsServers, dnsServers), (.dnsTTLFloor, dnsTTLFloor),
            (.dnsTTLCeiling, dnsTTLCeiling), (.dnsGrace, dnsGrace), (.auditSync, auditSync),
            (.auditFileSize, auditFileSize), (.auditFileAge, auditFileAge), (.auditKeepSize, auditKeepSize),
            (.auditKeepAge, auditKeepAge), (.socketOwner, socketOwner), (.socketGroup, socketGroup),
            (.socketMode, socketMode), (.socketReaders, socketReaders), (.listen, listen),
            (.tlsCertificate, tlsCertificate), (.tlsKey, tlsKey), (.maxConnections, maxConnections),
            (.maxConnectionsPerClient, maxConnectionsPerClient), (.maxStreamsPerClient, maxStreamsPerClient),
            (.maxHeaderSize, maxHeaderSize), (.maxBodySize, maxBodySize), (.headerTimeout, headerTimeout),
            (.idleTimeout, idleTimeout), (.logLevel, logLevel), (.logFormat, logFormat),
        ]
        return given.reduce(into: [:]) { settings, flag in
            guard let value = flag.1 else { return }
            settings[flag.0] = Setting(key: flag.0, value: value, origin: "--\(flag.0.rawValue)")
        }
    }

    private static func logger(_ settings: DaemonConfiguration) -> Logger {
        var logger = Logger(label: "corrald") { label in
            switch settings.logFormat {
            case .text: StreamLogHandler.standardError(label: label)
            case .json: JSONLogHandler(label: label)
            }
        }
        logger.logLevel = settings.logLevel
        return logger
    }
}
