internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird

/// `/v1/snapshots` and all below it, and `/v1/sandboxes/{ref}/snapshot`.
struct SnapshotRoutes: Sendable {
    let engine: any SandboxEngine

    func list(_ routed: RoutedRequest) async throws -> Response {
        .json(try await engine.snapshots().map(Snapshot.init))
    }

    func make(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.snapshot, by: engine) { entry in
            if let info = try? await engine.sandbox(routed.reference) { entry.found(info) }
            let request = try SnapshotRequest(json: await routed.request.body.collect(upTo: APIResponder.bodyLimit))
            return .json(
                Snapshot(try await engine.snapshot(routed.reference, name: request.name)), status: .created)
        }
    }

    /// Query: `name`. Body: what an export gave.
    func take(_ routed: RoutedRequest) async throws -> Response {
        let name = try routed.queryValues("name").required("name")
        return try await routed.audited(.importSnapshot, by: engine) { [engine] entry in
            entry.record.target = name
            let info = try await routed.uploading { try await engine.importSnapshot(name, from: $0) }
            return .json(Snapshot(info), status: .created)
        }
    }

    func inspect(_ routed: RoutedRequest) async throws -> Response {
        .json(Snapshot(try await engine.snapshot(routed.reference)))
    }

    func remove(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.removeSnapshot, by: engine) { _ in
            try await engine.removeSnapshot(routed.reference)
            return Response(status: .noContent)
        }
    }

    func export(_ routed: RoutedRequest) async throws -> Response {
        .archive(try await engine.exportSnapshot(routed.reference), routed.context)
    }
}

extension Snapshot {
    init(_ info: SnapshotInfo) {
        self.init(
            name: info.name, image: info.image, imageDigest: info.imageDigest.isEmpty ? nil : info.imageDigest,
            parent: info.parent, layers: info.layers, createdAt: RFC3339.text(info.createdAt), size: info.size,
            entries: info.entries, skipped: info.skipped)
    }
}
