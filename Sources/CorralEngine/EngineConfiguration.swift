public import CorralPolicy

public struct EngineConfiguration: Sendable {
    public var instance: String
    /// `/var/lib/corral/<instance>` unless given.
    public var stateDirectory: String
    public var runDirectory: String
    /// IPv4 pool, /16 to /28.
    public var subnet: IPPrefix
    /// IPv6 pool, a /64 to /112 of unique local addresses.
    public var subnet6: IPPrefix
    /// Warm sandboxes of each image in use.
    public var poolSize: Int
    /// Refilling begins below so many; nil: `poolSize`.
    public var poolLow: Int?
    /// Made for the pool in a second, at most.
    public var poolRate: Int
    /// Accept `CommandSpec.keepCapabilities` and `.noSeccomp`.
    public var allowTestSwitches: Bool
    /// Load the BPF objects that are here in place of those built in.
    public var testObjects: String?
    public var names: NameConfiguration
    public var journal: JournalConfiguration
    /// What of the host sandboxes may have mounted.
    public var mounts: [MountAllowance]

    public init(
        instance: String, stateDirectory: String, runDirectory: String, subnet: IPPrefix, subnet6: IPPrefix,
        poolSize: Int, poolLow: Int? = nil, poolRate: Int = 200, allowTestSwitches: Bool,
        names: NameConfiguration = NameConfiguration(), journal: JournalConfiguration = JournalConfiguration(),
        mounts: [MountAllowance] = []
    ) {
        self.instance = instance
        self.stateDirectory = stateDirectory
        self.runDirectory = runDirectory
        self.subnet = subnet
        self.subnet6 = subnet6
        self.poolSize = poolSize
        self.poolLow = poolLow
        self.poolRate = poolRate
        self.allowTestSwitches = allowTestSwitches
        self.names = names
        self.journal = journal
        self.mounts = mounts
    }

    /// Where the audit journal is kept.
    public var journalDirectory: String { stateDirectory + "/audit" }
}

/// A directory of the host that policies may mount, with all below it.
public struct MountAllowance: Sendable, Equatable {
    /// Absolute, without `.`, `..` and symbolic links.
    public var path: String
    /// Sandboxes may write there too.
    public var write: Bool

    public init(path: String, write: Bool = false) {
        self.path = path
        self.write = write
    }
}

/// How names are resolved for sandboxes.
public struct NameConfiguration: Sendable, Equatable {
    /// Name servers to ask, each as `NameConfiguration.isServer` takes it. None: those of the host's /etc/resolv.conf.
    public var servers: [String]
    /// Seconds that an answer holds in a sandbox, at least and at most, whatever its TTL.
    public var ttlFloor: UInt32
    public var ttlCeiling: UInt32
    /// Seconds that an address stays open past the TTL that the sandbox was given.
    public var grace: UInt32

    public init(servers: [String] = [], ttlFloor: UInt32 = 30, ttlCeiling: UInt32 = 3600, grace: UInt32 = 60) {
        self.servers = servers
        self.ttlFloor = ttlFloor
        self.ttlCeiling = ttlCeiling
        self.grace = grace
    }

    /// `9.9.9.9`, `9.9.9.9:5353`, `2620:fe::fe`, `[2620:fe::fe]:53`, `fe80::1%eth0`.
    public static func isServer(_ text: String) -> Bool { DNSEndpoint(text) != nil }
}
