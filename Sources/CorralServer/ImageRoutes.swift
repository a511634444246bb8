internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird

/// `/v1/images` and all below it.
struct ImageRoutes: Sendable {
    let engine: any SandboxEngine

    func list(_ routed: RoutedRequest) async throws -> Response {
        .json(try await engine.images().map(Image.init))
    }

    /// Query: `name`. Body: an archive.
    func take(_ routed: RoutedRequest) async throws -> Response {
        let name = try routed.queryValues("name").required("name")
        return try await routed.audited(.importImage, by: engine) { [engine] entry in
            entry.record.target = name
            let info = try await routed.uploading { try await engine.importImage(name, from: $0) }
            return .json(Image(info), status: .created)
        }
    }

    func inspect(_ routed: RoutedRequest) async throws -> Response {
        .json(Image(try await engine.image(routed.reference)))
    }

    func remove(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.removeImage, by: engine) { _ in
            try await engine.removeImage(routed.reference)
            return Response(status: .noContent)
        }
    }
}

extension Image {
    init(_ info: ImageInfo) {
        self.init(
            name: info.name, digest: info.digest.isEmpty ? nil : info.digest, source: info.source, layers: info.layers,
            size: info.size, entries: info.entries, importedAt: info.importedAt.map(RFC3339.text),
            architecture: info.architecture, env: info.environment, workingDirectory: info.workingDirectory,
            entrypoint: info.entrypoint, command: info.command, user: info.user,
            omitted: Omitted(devices: info.devices, capabilities: info.capabilities, attributes: info.attributes))
    }
}
