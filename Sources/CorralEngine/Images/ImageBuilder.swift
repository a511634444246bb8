internal import CorralArchive
internal import CorralEvents
internal import CorralKernel

/// Makes the files of an image out of an archive: a root file system, an OCI layout or what `docker save` writes.
///
/// Everything happens below one directory, which the caller removes when this throws.
struct ImageBuilder {
    /// Of this import.
    let directory: String
    let limits: ArchiveLimits

    private struct Layer {
        var path: String
        /// Of the blob as it is; nil where nothing says it.
        var digest: Digest?
        /// Of the archive in it.
        var content: Digest
    }

    static let rootfs = "rootfs"
    private static let staged = "staged"

    init(directory: String, limits: ArchiveLimits = ArchiveLimits()) {
        self.directory = directory
        self.limits = limits
    }

    /// The files are then in `rootfs` below the directory.
    func build(from source: any ByteSource) throws -> ImageManifest {
        let staging = "\(directory)/\(Self.staged)"
        try Files.makeDirectory(staging, mode: 0o755)
        let content = HashingSource(try DecompressingSource(source))
        let root = try Handle(directory: staging)
        let extractor = TreeExtractor(into: root, .init(owner: .kept, setsRoot: true))
        try TarReader(content, limits: limits).copy(to: extractor)
        try extractor.finish()
        try content.drain()
        guard extractor.count > 0 else { throw ArchiveError(.malformed, "the archive is empty") }

        let files = ImageArchiveFiles(root: root)
        if files.exists("oci-layout"), files.exists("index.json") {
            let (configuration, digest, layers) = try readLayout(files)
            return try flatten(files, layers, configuration, digest, .oci)
        }
        if files.exists("manifest.json"), let docker = try readDocker(files) {
            return try flatten(files, docker.layers, docker.configuration, docker.digest, .docker)
        }
        try Files.rename(staging, to: "\(directory)/\(Self.rootfs)")
        return ImageManifest(
            digest: content.digest.description, source: .rootfs, layers: [content.digest.description],
            size: extractor.bytes, entries: extractor.count, omissions: extractor.omissions)
    }

    // MARK: what the archive says

    private func readLayout(_ files: ImageArchiveFiles) throws -> (OCIConfiguration, Digest, [Layer]) {
        var index = try files.document(OCIIndex.self, "index.json", files.read("index.json").bytes)
        for _ in 0..<4 {
            let chosen = try choose(index.manifests)
            if chosen.mediaType?.hasSuffix("index.v1+json") == true
                || chosen.mediaType?.hasSuffix("manifest.list.v2+json") == true
            {
                index = try files.blob(OCIIndex.self, chosen)
                continue
            }
            let manifest = try files.blob(OCIManifest.self, chosen)
            let configuration = try files.blob(OCIConfiguration.self, manifest.config)
            guard let digest = Digest(manifest.config.digest) else { throw Self.noDigest }
            guard manifest.layers.count == configuration.rootfs.layerDigests.count else {
                throw ArchiveError(.malformed, "the image's manifest and configuration name different layers")
            }
            let layers = try zip(manifest.layers, configuration.rootfs.layerDigests).map { descriptor, text in
                let (path, digest) = try files.path(of: descriptor)
                guard let content = Digest(text) else { throw Self.noDigest }
                return Layer(path: path, digest: digest, content: content)
            }
            return (configuration, digest, layers)
        }
        throw ArchiveError(.refused, "an index of indexes of indexes")
    }

    private static let noDigest = ArchiveError(.refused, "the image has a digest that is none of SHA-256")

    /// The one manifest for this machine.
    private func choose(_ manifests: [OCIDescriptor]) throws -> OCIDescriptor {
        let fitting = manifests.filter {
            $0.platform.map { $0.os == "linux" && $0.architecture == Self.architecture } ?? true
        }
        if fitting.count == 1 { return fitting[0] }
        if fitting.isEmpty {
            throw ArchiveError(.refused, "the archive holds no image for linux/\(Self.architecture)")
        }
        throw ArchiveError(.refused, "the archive holds \(fitting.count) images; expected one")
    }

    static var architecture: String {
        #if arch(arm64)
            "arm64"
        #else
            "amd64"
        #endif
    }

    /// Nil for a `manifest.json` that is another program's.
    private func readDocker(
        _ files: ImageArchiveFiles
    ) throws -> (configuration: OCIConfiguration, digest: Digest, layers: [Layer])? {
        let name = "manifest.json"
        guard let entries = try? files.document([DockerManifestEntry].self, name, files.read(name).bytes) else {
            return nil
        }
        guard entries.count == 1, let entry = entries.first else {
            throw ArchiveError(.refused, "the archive holds \(entries.count) images; expected one")
        }
        let (bytes, digest) = try files.read(entry.configuration)
        // Its name is its digest, with .json behind it in older archives.
        let stem = entry.configuration.split(separator: "/").last?.split(separator: ".").first.map(String.init) ?? ""
        if let named = Digest("sha256:\(stem)"), named != digest {
            throw ArchiveError(.malformed, entry: entry.configuration, "has another digest than its name says")
        }
        let configuration = try files.document(OCIConfiguration.self, entry.configuration, bytes)
        guard entry.layers.count == configuration.rootfs.layerDigests.count else {
            throw ArchiveError(.malformed, "the image's manifest and configuration name different layers")
        }
        let layers = try zip(entry.layers, configuration.rootfs.layerDigests).map { path, text in
            guard let content = Digest(text) else { throw Self.noDigest }
            return Layer(path: path, digest: nil, content: content)
        }
        return (configuration, digest, layers)
    }

    // MARK: layers

    private func flatten(
        _ files: ImageArchiveFiles, _ layers: [Layer], _ configuration: OCIConfiguration, _ digest: Digest,
        _ source: ImageManifest.Source
    ) throws -> ImageManifest {
        if let os = configuration.os, !os.isEmpty, os != "linux" {
            throw ArchiveError(.refused, "the image is for \(TerminalText.neutralised(os)); expected linux")
        }
        if let architecture = configuration.architecture, !architecture.isEmpty, architecture != Self.architecture {
            throw ArchiveError(
                .refused,
                "the image is for \(TerminalText.neutralised(architecture)); this machine is \(Self.architecture)")
        }
        guard layers.count <= 512 else { throw ArchiveError(.limit, "the image has \(layers.count) layers") }
        let path = "\(directory)/\(Self.rootfs)"
        try Files.makeDirectory(path, mode: 0o755)
        let root = try Handle(directory: path)
        var manifest = ImageManifest(
            digest: digest.description, source: source, layers: [], size: 0, entries: 0, omissions: .init(),
            architecture: configuration.architecture)
        var left = limits
        for layer in layers {
            try check(layer, files, root, left)
            let extractor = TreeExtractor(into: root, .init(owner: .kept, whiteouts: .skipped, setsRoot: true))
            let blob = try files.open(layer.path)
            let content = try DecompressingSource(DescriptorSource(blob.descriptor))
            try TarReader(content, limits: left).copy(to: extractor)
            try extractor.finish()
            left.dataBytes -= min(left.dataBytes, extractor.bytes)
            left.entries -= min(left.entries, extractor.count)
            manifest.layers.append(layer.content.description)
            manifest.size += extractor.bytes
            manifest.entries += extractor.count
            manifest.omissions.devices += extractor.omissions.devices
            manifest.omissions.capabilities += extractor.omissions.capabilities
            manifest.omissions.attributes += extractor.omissions.attributes
        }
        if let process = configuration.config {
            manifest.configuration = .init(
                environment: process.environment ?? [],
                workingDirectory: process.workingDirectory.flatMap { $0.isEmpty ? nil : $0 },
                entrypoint: process.entrypoint ?? [], command: process.command ?? [],
                user: process.user.flatMap { $0.isEmpty ? nil : $0 })
        }
        try Files.removeTree("\(directory)/\(Self.staged)")
        return manifest
    }

    /// Nothing of a layer is unpacked before its digests are known to be right. Its whiteouts, which speak of the layers
    /// below, are applied on the way.
    private func check(_ layer: Layer, _ files: ImageArchiveFiles, _ root: Handle, _ limits: ArchiveLimits) throws {
        let file = try files.open(layer.path)
        let compressed = HashingSource(DescriptorSource(file.descriptor))
        let content = HashingSource(try DecompressingSource(compressed))
        let reader = TarReader(content, limits: limits)
        let whiteouts = LayerWhiteouts(root: root)
        while let entry = try reader.next() { try whiteouts.apply(entry) }
        try content.drain()
        try compressed.drain()
        if let wanted = layer.digest, compressed.digest != wanted {
            throw ArchiveError(.malformed, entry: layer.path, "has another digest than its descriptor says")
        }
        guard content.digest == layer.content else {
            throw ArchiveError(.malformed, entry: layer.path, "has another content than the image's configuration says")
        }
    }
}
