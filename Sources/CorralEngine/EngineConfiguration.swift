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
    public var poolSize: Int
    /// Accept `CommandSpec.keepCapabilities` and `.noSeccomp`.
    public var allowTestSwitches: Bool

    public init(
        instance: String, stateDirectory: String, runDirectory: String, subnet: IPPrefix, subnet6: IPPrefix,
        poolSize: Int,
        allowTestSwitches: Bool
    ) {
        self.instance = instance
        self.stateDirectory = stateDirectory
        self.runDirectory = runDirectory
        self.subnet = subnet
        self.subnet6 = subnet6
        self.poolSize = poolSize
        self.allowTestSwitches = allowTestSwitches
    }
}
