internal import CorralKernel
internal import CorralPolicy

/// What the files of a sandbox stand on: an image, perhaps snapshots above it, and mounts of the host.
struct FileBase: Sendable {
    /// As it was asked for.
    var image: String
    /// Empty for the host's image.
    var digest: String
    var layout: ImageLayout
    var configuration = ImageManifest.Configuration()
    /// Names, from the one that was asked for to the one that stands on the image.
    var snapshots: [String] = []
    var binds: [SpawnRequest.Mount] = []

    /// The host's image and nothing else: what the pool holds.
    var isPlain: Bool { digest.isEmpty && snapshots.isEmpty && binds.isEmpty }

    /// What the image says of a command's environment.
    var environment: [String: String] {
        guard !digest.isEmpty else { return [:] }
        var variables = ["HOME": "/root"]
        for entry in configuration.environment {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            if parts.count == 2, !parts[0].isEmpty, !entry.utf8.contains(0) { variables[parts[0]] = parts[1] }
        }
        return variables
    }

    var workingDirectory: String? {
        guard !digest.isEmpty else { return nil }
        guard let path = configuration.workingDirectory, path.hasPrefix("/"), !path.utf8.contains(0) else { return "/" }
        return path
    }

    /// Takes from the image what the caller left to it. Throws `invalidRequest` where the image says nothing.
    func complete(_ spec: inout SandboxSpec) throws(EngineError) {
        guard spec.runsImageCommand, spec.command.arguments.isEmpty else { return }
        spec.command.arguments = configuration.entrypoint + configuration.command
        guard !spec.command.arguments.isEmpty else {
            throw EngineError(.invalidRequest, "the image \(image) names no command; say which to run")
        }
    }
}
