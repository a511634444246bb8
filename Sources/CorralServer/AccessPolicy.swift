internal import CorralAPI
internal import CorralEvents
internal import HTTPTypes

/// Which right each request needs. The one table; docs/openapi.yaml holds the same.
enum AccessPolicy {
    struct Rule: Sendable, Equatable {
        /// Nil: anybody may.
        var right: AccessRight?
        var body = Body.document
        /// The answer lasts as long as its reader likes.
        var isStream = false
        /// Over the unix socket alone, whatever the key.
        var isLocal = false
        /// As the audit journal names it; nil where nothing is changed.
        var action: AuditRecord.Action?
    }

    enum Body: Sendable {
        /// Read whole, and limited.
        case document
        /// Taken as it comes.
        case stream
    }

    /// A request that nobody thought of needs the highest right.
    static func rule(_ method: HTTPRequest.Method, _ route: String) -> Rule {
        rules["\(method.rawValue) \(route)"] ?? Rule(right: .admin, body: .stream)
    }

    /// By method, and path as in docs/openapi.yaml.
    static let rules: [String: Rule] = [
        "GET /v1/sandboxes": Rule(right: .read),
        "POST /v1/sandboxes": Rule(right: .run, action: .create),
        "GET /v1/sandboxes/stats": Rule(right: .read),
        "GET /v1/sandboxes/{ref}": Rule(right: .read),
        "DELETE /v1/sandboxes/{ref}": Rule(right: .run, action: .remove),
        "POST /v1/sandboxes/{ref}/kill": Rule(right: .run, action: .kill),
        "GET /v1/sandboxes/{ref}/exec": Rule(right: .read),
        "POST /v1/sandboxes/{ref}/exec": Rule(right: .run, action: .exec),
        "GET /v1/sandboxes/{ref}/logs": Rule(right: .read, isStream: true),
        "GET /v1/sandboxes/{ref}/wait": Rule(right: .read, isStream: true),
        "POST /v1/sandboxes/{ref}/pause": Rule(right: .run, action: .pause),
        "POST /v1/sandboxes/{ref}/resume": Rule(right: .run, action: .resume),
        "PUT /v1/sandboxes/{ref}/policy": Rule(right: .run, action: .applyPolicy),
        "POST /v1/sandboxes/{ref}/attach": Rule(right: .run, body: .stream, isStream: true),
        // Switches tracing on, which costs the sandbox time.
        "GET /v1/sandboxes/{ref}/trace": Rule(right: .run, isStream: true),
        "GET /v1/sandboxes/{ref}/syscalls": Rule(right: .read),
        // The command could carry the same out by its streams.
        "GET /v1/sandboxes/{ref}/files": Rule(right: .run, isStream: true, action: .copyOut),
        "PUT /v1/sandboxes/{ref}/files": Rule(right: .run, body: .stream, action: .copyIn),
        "POST /v1/sandboxes/{ref}/snapshot": Rule(right: .run, action: .snapshot),
        // What others' sandboxes are made of.
        "GET /v1/images": Rule(right: .read),
        "POST /v1/images": Rule(right: .admin, body: .stream, action: .importImage),
        "GET /v1/images/{ref}": Rule(right: .read),
        "DELETE /v1/images/{ref}": Rule(right: .admin, action: .removeImage),
        "GET /v1/snapshots": Rule(right: .read),
        "POST /v1/snapshots": Rule(right: .admin, body: .stream, action: .importSnapshot),
        "GET /v1/snapshots/{ref}": Rule(right: .read),
        "DELETE /v1/snapshots/{ref}": Rule(right: .run, action: .removeSnapshot),
        "GET /v1/snapshots/{ref}/export": Rule(right: .run, isStream: true),
        "GET /v1/enforcements": Rule(right: .read),
        "POST /v1/enforcements": Rule(right: .admin, action: .enforce),
        "DELETE /v1/enforcements/{ref}": Rule(right: .admin, action: .release),
        "GET /v1/apikeys": Rule(right: .admin, isLocal: true),
        "POST /v1/apikeys": Rule(right: .admin, isLocal: true, action: .createKey),
        "DELETE /v1/apikeys/{ref}": Rule(right: .admin, isLocal: true, action: .revokeKey),
        "GET /v1/events": Rule(right: .read, isStream: true),
        "GET /v1/audit": Rule(right: .read),
        "GET /v1/pool": Rule(right: .read),
        "GET /v1/doctor": Rule(right: .read),
        "GET /v1/version": Rule(right: .read),
        "GET /metrics": Rule(right: .read),
        // For load balancers, which have no key. Tells nothing of what runs.
        "GET /healthz": Rule(right: nil),
    ]
}
