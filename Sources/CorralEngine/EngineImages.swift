internal import CorralArchive
internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// Images, and what sandboxes stand on.
extension Engine {
    /// Archives that are read or written at once: each holds a thread.
    private static let mostTransfers = 16

    private static func unknown(_ image: String) -> EngineError {
        EngineError(
            .invalidRequest, "image \(image) is not known", detail: ["corral image ls lists those there are"])
    }

    /// What a sandbox will stand on. Throws `invalidRequest`, and `forbidden` for mounts that are not allowed.
    func fileBase(for spec: SandboxSpec) throws -> FileBase {
        var image = spec.image ?? "host"
        var chain: [SnapshotInfo] = []
        if let name = spec.snapshot {
            chain = try host.snapshots.chain(of: name)
            guard let last = chain.last else { throw EngineError(.invalidRequest, "snapshot \(name) is not known") }
            if let wanted = spec.image, wanted != last.image {
                throw EngineError(
                    .invalidRequest, "snapshot \(name) is of the image \(last.image), and \(wanted) is asked for",
                    detail: ["leave the image out, of the policy too"])
            }
            image = last.image
        }
        var base: FileBase
        if image == "host" {
            base = FileBase(image: image, digest: "", layout: host.provisioner.hostImage)
        } else {
            // A snapshot stands on the content that it was made on, whatever its name means by now.
            let digest = try chain.last?.imageDigest ?? host.images.find(image)?.digest
            guard let digest, let layout = try host.images.layout(of: digest),
                let configuration = try host.images.configuration(of: digest)
            else { throw Self.unknown(image) }
            base = FileBase(image: image, digest: digest, layout: layout, configuration: configuration)
        }
        base.snapshots = chain.map(\.name)
        base.layout.layers = try host.snapshots.layers(of: chain) + base.layout.layers
        guard base.layout.layers.count <= SpawnRequest.maximumLayers else {
            throw EngineError(
                .invalidRequest, "the chain of snapshots has more than \(SpawnRequest.maximumLayers - 1) layers",
                detail: ["export it, import it again under another image, or begin anew"])
        }
        base.binds = try binds(for: spec)
        return base
    }

    func begin(using base: FileBase) -> UInt64 {
        nextUse += 1
        basesInUse[nextUse] = base
        return nextUse
    }

    func end(_ use: UInt64) {
        basesInUse[use] = nil
    }

    func isUsed(where matches: (FileBase) -> Bool) -> Bool {
        basesInUse.values.contains(where: matches) || live.values.contains { $0.base.map(matches) ?? false }
    }

    // MARK: what callers ask

    /// Takes in an archive: a root file system, an OCI layout or what `docker save` writes. The name then stands for it.
    public func importImage(_ name: String, from inlet: ByteInlet) async throws -> ImageInfo {
        guard ImageName.isValid(name), name != "host" else {
            inlet.close()
            throw EngineError(
                .invalidRequest, "\(name) is no name for an image", detail: ["expected \(ImageName.expected)"])
        }
        let images = host.images
        let info = try await transfer(closing: inlet) {
            try images.take(name, from: inlet.source, now: Clock.realtime())
        }
        return info
    }

    /// Runs `work` on a thread of its own, and turns what an archive did wrong into an error for its sender.
    func transfer<Value: Sendable>(
        closing inlet: ByteInlet? = nil, _ work: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        defer { inlet?.close() }
        guard transfers < Self.mostTransfers else {
            throw EngineError(.exhausted, "\(transfers) archives are being read and written; try again later")
        }
        transfers += 1
        defer { transfers -= 1 }
        do {
            return try await WorkQueue("corral.transfer").run(work)
        } catch {
            throw Self.foreseen(error)
        }
    }

    static func foreseen(_ error: any Error) -> any Error {
        switch error {
        case let error as ArchiveError:
            guard case .system(let number) = error.kind, number == ENOSPC || number == EDQUOT else {
                return EngineError(.invalidRequest, error.description)
            }
            return EngineError(.exhausted, error.description)
        case let error as KernelError where error.call == "decompress":
            return EngineError(.invalidRequest, error.detail ?? error.description)
        case let error as KernelError
        where [ENOENT, ENOTDIR, ELOOP, EACCES, ENAMETOOLONG, EISDIR].contains(error.errno):
            return EngineError(error.errno == ENOENT ? .notFound : .invalidRequest, error.description)
        case let error as KernelError where error.errno == ESRCH:
            return EngineError(.conflict, "the sandbox has ended")
        default: return error
        }
    }

    /// By name, the host's first.
    public func images() async throws -> [ImageInfo] { [.host] + (try host.images.list()) }

    public func image(_ name: String) async throws -> ImageInfo {
        if name == "host" { return .host }
        guard let info = try host.images.find(name) else { throw EngineError(.notFound, "no image \(name)") }
        return info
    }

    /// Takes a name away, and with the last one the content. `conflict` while a sandbox or a snapshot stands on it.
    public func removeImage(_ name: String) async throws {
        let info = try await image(name)
        guard name != "host" else { throw EngineError(.conflict, "the image host is this machine's own") }
        if isUsed(where: { $0.digest == info.digest }) {
            throw EngineError(.conflict, "a sandbox stands on the image \(name)")
        }
        if let snapshot = try host.snapshots.list().first(where: { $0.imageDigest == info.digest }) {
            throw EngineError(.conflict, "the snapshot \(snapshot.name) stands on the image \(name)")
        }
        try host.images.remove(name) { _ in false }
    }
}
