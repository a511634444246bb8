internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import Hummingbird

/// `/v1/apikeys` and all below it.
struct ApiKeyRoutes: Sendable {
    let engine: any SandboxEngine
    let keys: ApiKeys
    let connections: Connections

    func list(_ routed: RoutedRequest) async throws -> Response {
        .json(keys.list())
    }

    func create(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.createKey, by: engine) { entry in
            let body = try await routed.request.body.collect(upTo: APIResponder.bodyLimit)
            let request = try CreateApiKeyRequest(json: body)
            entry.record.target = request.name
            let created = try await keys.create(request)
            // The id, and for whom: the token stands nowhere but in the answer.
            entry.record.target = "\(created.key.id) \(created.key.name) \(created.key.scope.rawValue)"
            var response = Response.json(created, status: .created)
            response.headers[.cacheControl] = "no-store"
            return response
        }
    }

    /// By id.
    func revoke(_ routed: RoutedRequest) async throws -> Response {
        try await routed.audited(.revokeKey, by: engine) { entry in
            try await keys.revoke(routed.reference)
            connections.close(key: routed.reference)
            return Response(status: .noContent)
        }
    }
}

extension CreateApiKeyRequest: RequestDocument {
    static let keys = KnownKeys.object(["name": .any, "scope": .any, "expiresIn": .any])
}
