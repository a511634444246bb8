internal import CorralArchive

/// What is kept about an image beside its files.
struct ImageManifest: Codable, Sendable, Equatable {
    /// Goes up when what stands here changes its meaning.
    static let version = 1

    enum Source: String, Codable, Sendable {
        case rootfs
        case oci
        case docker
    }

    struct Configuration: Codable, Sendable, Equatable {
        var environment: [String] = []
        var workingDirectory: String?
        var entrypoint: [String] = []
        var command: [String] = []
        var user: String?
    }

    var version = Self.version
    /// Of a root file system: its archive's, uncompressed; else of the image's configuration, as Docker has it.
    var digest: String
    var source: Source
    /// Of the uncompressed layers, the lowest first.
    var layers: [String]
    /// Bytes of content.
    var size: UInt64
    var entries: Int
    var omissions: TreeExtractor.Omissions
    var architecture: String?
    var configuration = Configuration()
}

/// A name of an image, and what it stands for.
struct ImageTag: Codable, Sendable, Equatable {
    var version = ImageManifest.version
    var name: String
    var digest: String
    /// Nanoseconds since 1970, UTC.
    var importedAt: Int64
}

public struct ImageInfo: Sendable, Equatable {
    public var name: String
    /// `sha256:…`; empty for the host's image.
    public var digest: String
    /// `rootfs`, `oci`, `docker` or `host`.
    public var source: String
    public var layers: [String]
    /// Bytes of content.
    public var size: UInt64
    public var entries: Int
    /// Nanoseconds since 1970, UTC; nil for the host's image.
    public var importedAt: Int64?
    public var architecture: String?
    public var environment: [String]
    public var workingDirectory: String?
    public var entrypoint: [String]
    public var command: [String]
    public var user: String?
    /// What was left out at import.
    public var devices: Int
    public var capabilities: Int
    public var attributes: Int

    public init(
        name: String, digest: String, source: String, layers: [String] = [], size: UInt64 = 0, entries: Int = 0,
        importedAt: Int64? = nil, architecture: String? = nil, environment: [String] = [],
        workingDirectory: String? = nil, entrypoint: [String] = [], command: [String] = [], user: String? = nil,
        devices: Int = 0, capabilities: Int = 0, attributes: Int = 0
    ) {
        self.name = name
        self.digest = digest
        self.source = source
        self.layers = layers
        self.size = size
        self.entries = entries
        self.importedAt = importedAt
        self.architecture = architecture
        self.environment = environment
        self.workingDirectory = workingDirectory
        self.entrypoint = entrypoint
        self.command = command
        self.user = user
        self.devices = devices
        self.capabilities = capabilities
        self.attributes = attributes
    }

    init(_ tag: ImageTag, _ manifest: ImageManifest) {
        self.init(
            name: tag.name, digest: manifest.digest, source: manifest.source.rawValue, layers: manifest.layers,
            size: manifest.size, entries: manifest.entries, importedAt: tag.importedAt,
            architecture: manifest.architecture, environment: manifest.configuration.environment,
            workingDirectory: manifest.configuration.workingDirectory, entrypoint: manifest.configuration.entrypoint,
            command: manifest.configuration.command, user: manifest.configuration.user,
            devices: manifest.omissions.devices, capabilities: manifest.omissions.capabilities,
            attributes: manifest.omissions.attributes)
    }

    /// The image that every host has.
    static let host = ImageInfo(name: "host", digest: "", source: "host")
}
