internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

/// Lets a request in or says why not.
struct AccessControl: Sendable {
    let keys: ApiKeys
    let connections: Connections
    let attempts: FailedAttempts
    let engine: any SandboxEngine

    /// Who asks. Throws 401 or 429 for somebody at an address without a valid key, unless `rule` lets anybody in.
    func identify(_ request: Request, _ context: APIContext, _ rule: AccessPolicy.Rule) throws -> Caller {
        guard let connection = connections[context.channel] else {
            // It has gone meanwhile.
            throw ClientGone()
        }
        let address: String
        switch connection.origin {
        case .local(let peer, let right): return .process(peer, right)
        case .remote(let remote): address = remote
        }
        guard rule.right != nil else { return .stranger(address: address) }
        if let token = Self.token(in: request.headers), let key = keys.authenticate(token) {
            connections.use(key: key.id, on: context.channel)
            return .key(id: key.id, scope: key.scope, address: address)
        }
        let stranger = Caller.stranger(address: address)
        // A secret of 256 bits is not guessed; what is limited here is the work, and the lines in the journal.
        guard attempts.count(from: address) else {
            var failure = Failure(
                .tooManyRequests, "too_many_requests", "too many requests without a valid API key from this address")
            failure.headers[.retryAfter] = "\(FailedAttempts.secondsPerAttempt)"
            failure.closes = true
            throw failure
        }
        let failure = Failure.unauthorized
        record(.authenticate, failure, stranger, target: nil)
        throw failure
    }

    /// Throws 403 where `caller` lacks the right, and records it where something would have been changed.
    func permit(_ caller: Caller, _ rule: AccessPolicy.Rule, target: String) throws(Failure) {
        guard let needed = rule.right else { return }
        let failure: Failure
        if case .key = caller, rule.isLocal {
            failure = Failure(.forbidden, "forbidden", "this is done over the unix socket of the host alone")
        } else if let right = caller.right, right >= needed {
            return
        } else {
            failure = Failure(
                .forbidden, "forbidden",
                "this needs the right \"\(needed.rawValue)\", and the caller has \(caller.right.map { "\"\($0.rawValue)\"" } ?? "none")"
            )
        }
        if let action = rule.action { record(action, failure, caller, target: target.isEmpty ? nil : target) }
        throw failure
    }

    private func record(_ action: AuditRecord.Action, _ failure: Failure, _ caller: Caller, target: String?) {
        engine.record(
            AuditRecord(
                action, outcome: .refused(code: failure.body.code, message: failure.body.message),
                by: caller.requester, target: target),
            sandbox: nil)
    }

    /// `Authorization: Bearer TOKEN`, else `X-API-Key: TOKEN`.
    static func token(in headers: HTTPFields) -> String? {
        if let value = headers[.authorization] {
            let parts = value.split(separator: " ", omittingEmptySubsequences: true)
            guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
            return String(parts[1])
        }
        return headers[.apiKey]
    }
}

extension HTTPField.Name {
    static let apiKey = HTTPField.Name("X-API-Key")!
}
