/// `GET /v1/enforcements`: a cgroup that Corral did not make and that is under a policy.
public struct EnforcedCgroup: Codable, Sendable, Equatable {
    public var id: String
    /// Of the cgroup v2 directory.
    public var cgroup: String
    public var policy: Sandbox.AppliedPolicy
    /// Since this daemon took it over.
    public var counters: Sandbox.Counters

    public init(id: String, cgroup: String, policy: Sandbox.AppliedPolicy, counters: Sandbox.Counters) {
        self.id = id
        self.cgroup = cgroup
        self.policy = policy
        self.counters = counters
    }
}

/// `POST /v1/enforcements` → 200 `EnforcedCgroup`. A cgroup that is under a policy already gets this one in its place.
public struct EnforceRequest: Codable, Sendable, Equatable {
    /// Absolute, or below the mount of cgroup v2. One of `cgroup` and `pid`.
    public var cgroup: String?
    /// The cgroup that this process is in.
    public var pid: Int?
    public var policy: PolicySource

    public init(cgroup: String? = nil, pid: Int? = nil, policy: PolicySource) {
        self.cgroup = cgroup
        self.pid = pid
        self.policy = policy
    }
}
