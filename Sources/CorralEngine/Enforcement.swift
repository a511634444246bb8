/// A cgroup that Corral did not make and that is under a policy.
public struct Enforcement: Sendable {
    public var id: String
    /// Of the cgroup v2 directory.
    public var path: String
    public var policyName: String
    public var policyGeneration: UInt32
    public var policyAudits: Bool
    /// Since this daemon took it over.
    public var counters: SandboxCounters

    public init(
        id: String, path: String, policyName: String, policyGeneration: UInt32, policyAudits: Bool,
        counters: SandboxCounters
    ) {
        self.id = id
        self.path = path
        self.policyName = policyName
        self.policyGeneration = policyGeneration
        self.policyAudits = policyAudits
        self.counters = counters
    }
}

/// Which cgroup a caller means.
public enum CgroupReference: Sendable, Equatable {
    /// Absolute, or below the mount of cgroup v2.
    case path(String)
    /// The one that this process is in.
    case pid(Int32)
}

/// A policy as a caller wrote it, kept so that the next daemon can read it again.
public struct PolicyText: Sendable, Equatable, Codable {
    /// Name for messages; never opened.
    public var file: String
    public var yaml: String

    public init(file: String, yaml: String) {
        self.file = file
        self.yaml = yaml
    }
}
