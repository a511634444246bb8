/// `GET /v1/images/{name}`.
public struct Image: Codable, Sendable, Equatable {
    /// What was left out at the import.
    public struct Omitted: Codable, Sendable, Equatable {
        public var devices: Int
        /// File capabilities, which mean nothing in a sandbox.
        public var capabilities: Int
        /// Other extended attributes that are not the user's.
        public var attributes: Int

        public init(devices: Int, capabilities: Int, attributes: Int) {
            self.devices = devices
            self.capabilities = capabilities
            self.attributes = attributes
        }
    }

    public var name: String
    /// `sha256:…`; absent for `host`.
    public var digest: String?
    /// `rootfs`, `oci`, `docker` or `host`.
    public var source: String
    /// Digests of the layers it was made of, the lowest first.
    public var layers: [String]
    /// Bytes of content.
    public var size: UInt64
    public var entries: Int
    /// RFC 3339; absent for `host`.
    public var importedAt: String?
    public var architecture: String?
    /// What a command gets without being asked for otherwise.
    public var env: [String]
    public var workingDirectory: String?
    public var entrypoint: [String]
    public var command: [String]
    public var user: String?
    public var omitted: Omitted

    public init(
        name: String, digest: String?, source: String, layers: [String], size: UInt64, entries: Int,
        importedAt: String?, architecture: String?, env: [String], workingDirectory: String?, entrypoint: [String],
        command: [String], user: String?, omitted: Omitted
    ) {
        self.name = name
        self.digest = digest
        self.source = source
        self.layers = layers
        self.size = size
        self.entries = entries
        self.importedAt = importedAt
        self.architecture = architecture
        self.env = env
        self.workingDirectory = workingDirectory
        self.entrypoint = entrypoint
        self.command = command
        self.user = user
        self.omitted = omitted
    }
}
