/// What a client may do. Each right holds those before it.
public enum AccessRight: String, Codable, Sendable, CaseIterable, Comparable {
    /// Look at sandboxes, events, metrics and the host.
    case read
    /// Start commands, and whatever may be done with sandboxes.
    case run
    /// Change what holds for the host: policies on its cgroups, images, API keys.
    case admin

    private var rank: Int {
        switch self {
        case .read: 0
        case .run: 1
        case .admin: 2
        }
    }

    public static func < (a: AccessRight, b: AccessRight) -> Bool { a.rank < b.rank }
}

/// An API key without its secret, which corrald does not keep.
public struct ApiKey: Codable, Sendable, Equatable {
    /// 12 characters; stands in the audit journal.
    public var id: String
    /// For people; need not be unique.
    public var name: String
    public var scope: AccessRight
    /// RFC 3339, UTC.
    public var createdAt: String
    /// Nil: never.
    public var expiresAt: String?
    /// To the minute; nil before the first use.
    public var lastUsedAt: String?

    public init(
        id: String, name: String, scope: AccessRight, createdAt: String, expiresAt: String?, lastUsedAt: String?
    ) {
        self.id = id
        self.name = name
        self.scope = scope
        self.createdAt = createdAt
        self.expiresAt = expiresAt
        self.lastUsedAt = lastUsedAt
    }
}

/// `POST /v1/apikeys`.
public struct CreateApiKeyRequest: Codable, Sendable, Equatable {
    public var name: String
    public var scope: AccessRight
    /// A duration such as `90d`; nil: until it is revoked.
    public var expiresIn: String?

    public init(name: String, scope: AccessRight, expiresIn: String? = nil) {
        self.name = name
        self.scope = scope
        self.expiresIn = expiresIn
    }
}

/// Answer of `POST /v1/apikeys`, the only one that holds the secret.
public struct CreatedApiKey: Codable, Sendable, Equatable {
    public var key: ApiKey
    /// `corral_<id>_<secret>`.
    public var token: String

    public init(key: ApiKey, token: String) {
        self.key = key
        self.token = token
    }
}

extension Client {
    /// Over the unix socket alone.
    public func createApiKey(_ request: CreateApiKeyRequest) throws(ClientError) -> CreatedApiKey {
        try call("POST", "/v1/apikeys", body: .json(try encode(request)))
    }

    public func apiKeys() throws(ClientError) -> [ApiKey] {
        try call("GET", "/v1/apikeys")
    }

    /// From then on it opens nothing, and connections that it has opened are closed.
    public func revokeApiKey(_ id: String) throws(ClientError) {
        _ = try exchange("DELETE", "/v1/apikeys/" + Self.percentEncoded(id))
    }
}
