internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird

/// `/v1/sandboxes/{ref}/files`.
struct FileRoutes: Sendable {
    let engine: any SandboxEngine

    /// Query: `path`, `contents`, `follow`.
    func read(_ routed: RoutedRequest) async throws -> Response {
        let values = try routed.queryValues("path", "contents", "follow")
        let (path, contents) = (try values.required("path"), try values.flag("contents"))
        let follow = try values.flag("follow")
        return try await routed.audited(.copyOut, by: engine) { entry in
            if let info = try? await engine.sandbox(routed.reference) { entry.found(info) }
            return .archive(
                try await engine.readFiles(routed.reference, path: path, contents: contents, follow: follow),
                routed.context)
        }
    }

    /// Query: `path`, `mode`. Body: a tar archive.
    func write(_ routed: RoutedRequest) async throws -> Response {
        let values = try routed.queryValues("path", "mode")
        let path = try values.required("path")
        guard let mode = CopyMode(rawValue: values["mode"] ?? CopyMode.into.rawValue) else {
            throw Failure.invalidRequest("mode: expected into, entry or contents")
        }
        return try await routed.audited(.copyIn, by: engine) { [engine] entry in
            if let info = try? await engine.sandbox(routed.reference) { entry.found(info) }
            let count = try await routed.uploading {
                try await engine.writeFiles(routed.reference, path: path, mode: mode, from: $0)
            }
            return .json(CopyResult(entries: count))
        }
    }
}
