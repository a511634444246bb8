internal import CorralArchive
internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// What a sandbox has changed, kept for others to start from.
extension Engine {
    /// Keeps what the sandbox has written. It stands still meanwhile, and the snapshot holds one moment.
    public func snapshot(_ reference: String, name: String) async throws -> SnapshotInfo {
        let sandbox = try find(reference)
        try Self.demandName(name)
        guard let base = sandbox.base else { throw EngineError(.conflict, "sandbox \(sandbox.name) is not running") }
        let files = try files(of: sandbox)
        let wasRunning = if case .running = sandbox.state { true } else { false }
        if wasRunning {
            sandbox.isPausedForCopy = true
            do {
                _ = try await pause(sandbox.id)
            } catch {
                sandbox.isPausedForCopy = false
                throw error
            }
        }
        sandbox.copies += 1
        let use = begin(using: base)
        let (store, slot) = (host.snapshots, sandbox.warm.identity.slot)
        let manifest = SnapshotManifest(
            name: name, image: base.image, imageDigest: base.digest, parent: base.snapshots.first, layers: 1,
            createdAt: Clock.realtime(), size: 0, entries: 0, skipped: 0)
        let result: Result<SnapshotInfo, any Error>
        do {
            result = .success(
                try await transfer {
                    try store.make(manifest) { try Self.copyUpper(of: files, slot: slot, manifest, into: $0) }
                })
        } catch {
            result = .failure(error)
        }
        end(use)
        sandbox.copies -= 1
        if sandbox.copies == 0 { sandbox.isPausedForCopy = false }
        if wasRunning, sandbox.copies == 0, case .paused = sandbox.state { _ = try? await resume(sandbox.id) }
        return try result.get()
    }

    private static func demandName(_ name: String) throws {
        guard ImageName.isValid(name) else {
            throw EngineError(
                .invalidRequest, "\(name) is no name for a snapshot", detail: ["expected \(ImageName.expected)"])
        }
    }

    private static func copyUpper(
        of files: SandboxFiles, slot: UInt32, _ manifest: SnapshotManifest, into directory: String
    ) throws -> SnapshotManifest {
        try Files.makeDirectory("\(directory)/0", mode: 0o755)
        let extractor = TreeExtractor(
            into: try Handle(directory: "\(directory)/0"), .init(owner: .kept, whiteouts: .marked, setsRoot: true))
        let owner = TreePacker.Owner.from(Provisioner.firstUID(of: slot), count: Provisioner.uidCount)
        var packer = TreePacker(into: extractor, .init(owner: owner, isLayer: true))
        try packer.pack(Handle(owning: try files.openUpper()), as: .root)
        try extractor.finish()
        var done = manifest
        done.size = extractor.bytes
        done.entries = extractor.count
        done.skipped = packer.skipped
        return done
    }

    /// Of one that runs, or that is kept after its end.
    func files(of sandbox: LiveSandbox) throws -> SandboxFiles {
        if let files = sandbox.files { return files }
        do throws(KernelError) {
            return try SandboxFiles(pid: sandbox.warm.hostPid, channel: sandbox.warm.channel)
        } catch {
            throw EngineError(.conflict, "sandbox \(sandbox.name) has ended, and its files with it")
        }
    }

    public func snapshots() async throws -> [SnapshotInfo] { try host.snapshots.list() }

    public func snapshot(_ name: String) async throws -> SnapshotInfo {
        guard let info = try host.snapshots.find(name) else { throw EngineError(.notFound, "no snapshot \(name)") }
        return info
    }

    /// `conflict` while a sandbox or another snapshot stands on it.
    public func removeSnapshot(_ name: String) async throws {
        if isUsed(where: { $0.snapshots.contains(name) }) {
            throw EngineError(.conflict, "a sandbox stands on the snapshot \(name)")
        }
        try host.snapshots.remove(name)
    }

    /// The snapshot and all it stands on down to the image, as one tar archive.
    public func exportSnapshot(_ name: String) async throws -> ByteOutlet {
        let chain = try host.snapshots.chain(of: name)
        guard let info = chain.first else { throw EngineError(.notFound, "no snapshot \(name)") }
        let layers = try host.snapshots.layers(of: chain)
        let outlet = ByteOutlet()
        Task {
            do {
                try await transfer {
                    try SnapshotArchive.write(info, layers: layers.reversed()) { try outlet.write($0) }
                }
                outlet.finish()
            } catch {
                outlet.finish(throwing: error)
            }
        }
        return outlet
    }

    /// Takes in what `exportSnapshot` made. Its image has to be here, with the same content.
    public func importSnapshot(_ name: String, from inlet: ByteInlet) async throws -> SnapshotInfo {
        do {
            try Self.demandName(name)
        } catch {
            inlet.close()
            throw error
        }
        let (store, images) = (host.snapshots, host.images)
        let now = Clock.realtime()
        return try await transfer(closing: inlet) {
            let blank = SnapshotManifest(
                name: name, image: "", imageDigest: "", parent: nil, layers: 0, createdAt: now, size: 0, entries: 0,
                skipped: 0)
            return try store.make(blank) { directory in
                let (description, size, entries) = try SnapshotArchive.read(from: inlet.source, into: directory) {
                    guard $0.imageDigest.isEmpty ? $0.image == "host" : try images.layout(of: $0.imageDigest) != nil,
                        $0.image == "host" || ImageName.isValid($0.image)
                    else {
                        throw EngineError(
                            .conflict, "the image that the snapshot stands on is not here",
                            detail: ["import the image with the digest \($0.imageDigest.prefix(80)) first"])
                    }
                }
                var done = blank
                done.image = description.image
                done.imageDigest = description.imageDigest
                done.layers = description.layers.count
                done.size = size
                done.entries = entries
                return done
            }
        }
    }
}
