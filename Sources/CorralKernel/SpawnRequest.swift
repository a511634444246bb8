internal import CorralControl
internal import Glibc

/// What corral-spawn needs to know to make a sandbox.
public struct SpawnRequest: Sendable {
    /// A directory or file of the host shown inside.
    public struct Mount: Sendable {
        /// Who, on the host, is root inside; everybody else is nobody there.
        public struct Owner: Sendable, Equatable {
            public var uid: UInt32
            public var gid: UInt32

            public init(uid: UInt32, gid: UInt32) {
                self.uid = uid
                self.gid = gid
            }
        }

        public var source: String
        /// Nil: what is at `source` then. Otherwise this, whatever is at `source` by then.
        public var descriptor: SharedDescriptor?
        public var target: String
        public var readOnly: Bool
        /// Nil: ids are those of the sandbox, counted from its root.
        public var owner: Owner?

        public init(
            source: String, descriptor: SharedDescriptor? = nil, target: String, readOnly: Bool, owner: Owner? = nil
        ) {
            self.source = source
            self.descriptor = descriptor
            self.target = target
            self.readOnly = readOnly
            self.owner = owner
        }
    }

    /// Host uid and gid of the sandbox's root, at least 65536, and how many follow, at least 1024.
    public var uidBase: UInt32
    public var uidCount: UInt32
    /// Limits of the tmpfs that takes all writes; 0: the kernel's default.
    public var upperBytes: UInt64
    public var upperInodes: UInt64
    /// One label: letters, digits, inner hyphens; at most 63 bytes.
    public var hostname: String
    /// Root directory of the read-only image, on the host.
    public var image: String
    /// Root directories of read-only layers above it, the topmost first. At most 16.
    public var layers: [String]
    /// At most 16.
    public var mounts: [Mount]

    public init(
        uidBase: UInt32, uidCount: UInt32, upperBytes: UInt64, upperInodes: UInt64, hostname: String, image: String,
        layers: [String] = [], mounts: [Mount]
    ) {
        self.uidBase = uidBase
        self.uidCount = uidCount
        self.upperBytes = upperBytes
        self.upperInodes = upperInodes
        self.hostname = hostname
        self.image = image
        self.layers = layers
        self.mounts = mounts
    }

    /// Most layers above an image.
    public static let maximumLayers = Int(CORRAL_SPAWN_LAYERS)

    func message(tag: UInt64) throws(KernelError) -> [UInt8] {
        guard mounts.count <= Int(CORRAL_SPAWN_MOUNTS) else {
            throw KernelError(
                call: "spawn", subject: "mounts", errno: E2BIG, detail: "at most \(CORRAL_SPAWN_MOUNTS)")
        }
        guard layers.count <= Int(CORRAL_SPAWN_LAYERS) else {
            throw KernelError(
                call: "spawn", subject: "layers", errno: E2BIG, detail: "at most \(CORRAL_SPAWN_LAYERS)")
        }
        var message = ControlMessage(CORRAL_SPAWN_REQUEST, tag: tag)
        message.append(uidBase)
        message.append(uidCount)
        message.append(upperBytes)
        message.append(upperInodes)
        message.append(UInt32(0))  // v1 cgroups are entered later, by `SandboxCgroup.apply`
        message.append(UInt32(truncatingIfNeeded: mounts.count))
        message.append(UInt32(truncatingIfNeeded: layers.count))
        message.append(UInt32(0))
        try message.append(field: hostname, width: CORRAL_HOSTNAME_BYTES, named: "host name")
        try message.append(field: image, width: CORRAL_PATH_BYTES, named: "image")
        for layer in layers { try message.append(field: layer, width: CORRAL_PATH_BYTES, named: "layer") }
        message.append(zeros: (Int(CORRAL_SPAWN_LAYERS) - layers.count) * Int(CORRAL_PATH_BYTES))
        for mount in mounts {
            try message.append(field: mount.source, width: CORRAL_PATH_BYTES, named: "mount source \(mount.source)")
            try message.append(field: mount.target, width: CORRAL_PATH_BYTES, named: "mount target \(mount.target)")
            var flags: UInt32 = mount.readOnly ? CORRAL_MOUNT_READ_ONLY.rawValue : 0
            if mount.descriptor != nil { flags |= CORRAL_MOUNT_DESCRIPTOR.rawValue }
            if mount.owner != nil { flags |= CORRAL_MOUNT_OWNED.rawValue }
            message.append(flags)
            message.append(mount.owner?.uid ?? 0)
            message.append(mount.owner?.gid ?? 0)
            message.append(UInt32(0))
        }
        message.append(zeros: MemoryLayout<corral_spawn_request>.size - message.bytes.count)
        return try message.finish()
    }
}

/// A sandbox in which corral-init is parked.
@frozen public struct SpawnedSandbox: ~Copyable, Sendable {
    /// Of corral-init, on the host.
    public let pid: Int32
    public let pidfd: FileDescriptor
    /// For `InitChannel`.
    public let control: FileDescriptor
    /// An rtnetlink socket of the sandbox's network namespace.
    public let netlink: FileDescriptor
    /// The network namespace.
    public let netns: FileDescriptor
    /// For `SandboxHooks.probe`.
    public let probe: ProbeMeans
}
