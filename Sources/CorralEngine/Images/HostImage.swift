internal import CorralKernel
internal import Glibc

/// The built-in image `host`: the host's `/usr`, read-only, below a root that shows nothing else of the host.
///
/// Its other files are few and synthesised, or copied where they are public and name nothing but what lies in `/usr`:
/// linker cache, certificates, alternatives, name databases.
struct HostImage {
    /// Makes the image's root below `directory` (created when missing, as are its parents) and returns where it is.
    ///
    /// The root's name tells its content, so what an earlier call made is used again while the host has not changed,
    /// and a sandbox that runs on an older root keeps it. A root is complete as soon as its name exists.
    /// - Parameter nameserver: address of the resolver that sandboxes ask: the gateway's.
    static func prepare(
        at directory: String, nameserver: String = "169.254.1.1", host: String = ""
    ) throws(FileError) -> ImageLayout {
        let content = try HostImageContent(host: host, nameserver: nameserver)
        return ImageLayout(rootfs: try write(content.tree, at: directory), mounts: content.mounts)
    }

    /// A layer with what a sandbox needs in any image: places to mount on, and how it is called and finds names. Returns where
    /// it is.
    static func prepareBase(at directory: String, nameserver: String) throws(FileError) -> String {
        var tree = FileTree()
        for name in ["dev", "proc", "sys", "etc", "run"] { tree.directory(name) }
        HostImageContent.addNetworkConfiguration(to: &tree, nameserver: nameserver)
        tree.file(String(RefusalLog.inside.dropFirst()), [])
        return try write(tree, at: directory)
    }

    /// What a daemon left that was killed. To be called before the first is made.
    static func removeUnfinished(at directory: String) throws(FileError) {
        guard try Files.status(directory) != nil else { return }
        for name in try Files.names(in: directory) where name.hasPrefix(unfinished) {
            try Files.removeTree("\(directory)/\(name)")
        }
    }

    private static let unfinished = ".unfinished-"

    private static func write(_ tree: FileTree, at directory: String) throws(FileError) -> String {
        let rootfs = "\(directory)/rootfs-\(tree.fingerprint)"
        if try Files.status(rootfs) != nil { return rootfs }

        try Files.makeDirectories(directory)
        let work = "\(directory)/\(unfinished)\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        do {
            try tree.write(to: work)
            crashPoint("image.host-written")
            try Files.rename(work, to: rootfs)
        } catch {
            try? Files.removeTree(work)
            // Another daemon of this state directory was faster; its root is the same.
            guard error.call == "rename", error.errno == ENOTEMPTY || error.errno == EEXIST else { throw error }
        }
        return rootfs
    }

    /// Removes the roots that no sandbox will be started from again. Only while no sandbox runs on them.
    static func removeOthers(at directory: String, keeping layout: ImageLayout) throws(FileError) {
        for name in try Files.names(in: directory) where name.hasPrefix("rootfs-") {
            let path = "\(directory)/\(name)"
            if path != layout.rootfs { try Files.removeTree(path) }
        }
    }
}

/// Where an image is, and what of the host is mounted into it.
struct ImageLayout: Sendable, Equatable {
    struct Mount: Sendable, Equatable {
        /// Directory on the host.
        var source: String
        /// Directory inside.
        var target: String
        var readOnly: Bool
    }

    /// Root directory of the lowest read-only layer.
    var rootfs: String
    /// Those above it, the topmost first.
    var layers: [String] = []
    /// In the order in which they are to be mounted.
    var mounts: [Mount]
}

/// What the image consists of on this host.
private struct HostImageContent {
    private(set) var tree = FileTree()
    private(set) var mounts: [ImageLayout.Mount] = []
    /// Prefix of every path that is read; empty for the host itself.
    private let host: String

    /// Programs look for these at the root; usually links into `/usr`.
    private static let systemDirectories = ["bin", "sbin", "lib", "lib32", "lib64", "libx32"]
    private static let emptyDirectories = [
        "dev", "home", "home/user", "media", "mnt", "opt", "proc", "run", "srv", "sys", "var", "var/cache", "var/lib",
        "var/log",
    ]
    /// Copied as they are, when the host has them: directories whole.
    private static let copied = [
        "etc/alternatives", "etc/ca-certificates.conf", "etc/debian_version", "etc/ld.so.cache", "etc/ld.so.conf",
        "etc/ld.so.conf.d", "etc/localtime", "etc/mime.types", "etc/os-release", "etc/pki/ca-trust/extracted",
        "etc/pki/tls/certs", "etc/protocols", "etc/services", "etc/ssl/certs", "etc/ssl/openssl.cnf", "etc/timezone",
    ]

    init(host: String, nameserver: String) throws(FileError) {
        self.host = host
        tree.directory("usr")
        mounts.append(.init(source: "\(host)/usr", target: "/usr", readOnly: true))
        for name in Self.systemDirectories { try addSystemDirectory(name) }
        for name in Self.emptyDirectories { tree.directory(name) }
        tree.directory("root", mode: 0o700)
        tree.directory("tmp", mode: 0o1777)
        tree.directory("var/tmp", mode: 0o1777)
        tree.link("var/run", to: "../run")
        addConfiguration(nameserver: nameserver)
        for path in Self.copied { try copy(path) }
    }

    private mutating func addSystemDirectory(_ name: String) throws(FileError) {
        switch try Files.status("\(host)/\(name)")?.kind {
        case .link:
            tree.link(name, to: try Files.linkTarget("\(host)/\(name)"))
        case .directory:
            tree.directory(name)
            mounts.append(.init(source: "\(host)/\(name)", target: "/\(name)", readOnly: true))
        case .file, .other, nil:
            break
        }
    }

    private mutating func addConfiguration(nameserver: String) {
        tree.directory("etc")
        tree.file(
            "etc/passwd",
            """
            root:*:0:0:root:/root:/bin/sh
            user:*:1000:1000:user:/home/user:/bin/sh
            nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin

            """)
        tree.file("etc/group", "root:*:0:\ntty:*:5:\nuser:*:1000:\nnogroup:*:65534:\n")
        Self.addNetworkConfiguration(to: &tree, nameserver: nameserver)
        tree.file(
            "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n")
        tree.file(String(RefusalLog.inside.dropFirst()), [])
        tree.file("etc/shells", "/bin/sh\n/bin/bash\n")
    }

    static func addNetworkConfiguration(to tree: inout FileTree, nameserver: String) {
        tree.file("etc/hosts", "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
        tree.file("etc/hostname", "sandbox\n")
        tree.file("etc/resolv.conf", "nameserver \(nameserver)\n")
    }

    /// Takes over what everyone on the host may read; anything else is left out. Links stay links.
    private mutating func copy(_ path: String) throws(FileError) {
        guard let status = try Files.status("\(host)/\(path)") else { return }
        switch status.kind {
        case .link:
            tree.link(path, to: try Files.linkTarget("\(host)/\(path)"))
        case .directory where status.isReadableByAll:
            tree.directory(path)
            for name in try Files.names(in: "\(host)/\(path)") { try copy("\(path)/\(name)") }
        case .file where status.isReadableByAll:
            tree.file(path, try Files.content("\(host)/\(path)"))
        case .directory, .file, .other:
            break
        }
    }
}
