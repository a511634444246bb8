internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// Mounts of the host, as far as its operator allows them.
extension Engine {
    /// What is meant is opened here and stays that, whatever happens to its path. Throws `forbidden`, `invalidRequest`.
    func binds(for spec: SandboxSpec) throws -> [SpawnRequest.Mount] {
        let mounts = spec.mounts
        guard mounts.count <= Policy.Files.Mount.maximum else {
            throw EngineError(.invalidRequest, "mounts: expected at most \(Policy.Files.Mount.maximum)")
        }
        return try mounts.map { mount in
            guard Policy.Files.Mount.isPath(mount.source), Policy.Files.Mount.isPath(mount.target) else {
                throw EngineError(
                    .invalidRequest,
                    "mounts: \(mount.source) at \(mount.target): expected absolute paths without . and ..")
            }
            for reserved in ["/proc", "/sys", "/dev", "/run/corral"]
            where mount.target == reserved || mount.target.hasPrefix(reserved + "/") {
                throw EngineError(.invalidRequest, "mounts: \(mount.target) is Corral's own")
            }
            try admit(mount)
            return try open(mount)
        }
    }

    private func admit(_ mount: Policy.Files.Mount) throws {
        let covering = configuration.mounts.filter {
            mount.source == $0.path || mount.source.hasPrefix($0.path + "/")
        }
        guard !covering.isEmpty else {
            let known = configuration.mounts.map(\.path).joined(separator: ", ")
            throw EngineError(
                .forbidden, "mounts: \(mount.source) may not be mounted",
                detail: [
                    configuration.mounts.isEmpty
                        ? "corrald allows no mounts; its operator names directories with the setting mounts"
                        : "corrald allows \(known), and what is below"
                ])
        }
        guard mount.readOnly || covering.contains(where: \.write) else {
            throw EngineError(
                .forbidden, "mounts: \(mount.source) may be mounted read-only",
                detail: ["corrald's setting mounts says write: false for it"])
        }
    }

    private func open(_ mount: Policy.Files.Mount) throws -> SpawnRequest.Mount {
        let descriptor: SharedDescriptor
        do throws(KernelError) {
            descriptor = try HostDirectory.open(mount.source)
        } catch {
            throw EngineError(
                .invalidRequest, "mounts: \(mount.source) cannot be opened",
                detail: [
                    error.errno == ELOOP ? "a part of it is a symbolic link; name what it leads to" : error.description
                ])
        }
        let status = try HostDirectory.status(descriptor)
        guard status.isDirectory || status.isFile else {
            throw EngineError(.invalidRequest, "mounts: \(mount.source) is neither a directory nor a file")
        }
        // Its root could make a program there that anyone on the host runs as root.
        guard mount.readOnly || status.uid != 0 || status.ignoresSetUserID else {
            throw EngineError(
                .forbidden, "mounts: \(mount.source) belongs to root, so that it may be mounted read-only",
                detail: [
                    "a sandbox that writes there could leave a set-user-id program of root's: give the directory another owner, "
                        + "or mount its file system with nosuid"
                ])
        }
        return SpawnRequest.Mount(
            source: mount.source, descriptor: descriptor, target: mount.target, readOnly: mount.readOnly,
            owner: .init(uid: status.uid, gid: status.gid))
    }
}
