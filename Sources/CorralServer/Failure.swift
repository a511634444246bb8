internal import CorralAPI
internal import CorralEngine
internal import CorralEvents
internal import CorralPolicy
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import NIOHTTP1

/// An answer that is not 2xx: a status and the body that explains it.
struct Failure: Error, Equatable {
    var status: HTTPResponse.Status
    var body: ErrorBody
    /// Methods the resource has; only with 405.
    var allow: [HTTPRequest.Method] = []

    init(_ status: HTTPResponse.Status, _ code: String, _ message: String, detail: [String] = []) {
        self.status = status
        self.body = ErrorBody(code: code, message: message, detail: detail.isEmpty ? nil : detail)
    }

    static func invalidRequest(_ message: String, detail: [String] = []) -> Failure {
        Failure(.badRequest, "invalid_request", message, detail: detail)
    }

    /// The value of a query's key that is true or false.
    static func boolean(_ key: String, _ value: String) throws(Failure) -> Bool {
        switch value {
        case "true": return true
        case "false": return false
        default: throw .invalidRequest("\(key): expected true or false")
        }
    }

    static func noSuchRoute(_ path: String) -> Failure {
        Failure(.notFound, "not_found", "no such resource: \(TerminalText.neutralised(path))")
    }

    static func methodNotAllowed(_ method: HTTPRequest.Method, allowed: [HTTPRequest.Method]) -> Failure {
        let names = allowed.map(\.rawValue).joined(separator: ", ")
        var failure = Failure(
            .methodNotAllowed, "invalid_request", "\(method.rawValue) is not possible here; expected \(names)"
        )
        failure.allow = allowed
        return failure
    }

    /// Any error that a route threw. Unforeseen ones become `internal`.
    init(_ error: any Error) {
        switch error {
        case let failure as Failure: self = failure
        case let error as EngineError:
            self.init(error.kind.status, error.kind.rawValue, error.message, detail: error.detail)
        case let error as PolicyError:
            let problems = String(describing: error).split(separator: "\n").map(String.init)
            let message = problems.count == 1 ? problems[0] : "the policy has \(problems.count) problems"
            self.init(.badRequest, "invalid_policy", message, detail: problems)
        case let error as EventFilterError: self = .invalidRequest(error.description)
        case is NIOTooManyBytesError:
            self.init(.contentTooLarge, "invalid_request", "the request body is larger than this route takes")
        case is HTTPParserError: self = .invalidRequest("the request body is not framed as HTTP demands")
        default: self.init(.internalServerError, "internal", String(describing: error))
        }
    }

    var response: Response {
        var response = Response.json(body, status: status)
        if !allow.isEmpty { response.headers[.allow] = allow.map(\.rawValue).joined(separator: ", ") }
        return response
    }
}

extension EngineError.Kind {
    var status: HTTPResponse.Status {
        switch self {
        case .invalidRequest: .badRequest
        case .notFound: .notFound
        case .conflict: .conflict
        case .forbidden: .forbidden
        case .exhausted: .serviceUnavailable
        case .commandNotFound, .commandNotExecutable: .unprocessableContent
        case .internal: .internalServerError
        }
    }
}
