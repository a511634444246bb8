internal import CorralEvents
internal import HTTPTypes
internal import Hummingbird

/// The resources of the API, and who answers for each.
struct RouteTable: Sendable {
    typealias Handler = @Sendable (RoutedRequest) async throws -> Response

    enum Segment: Sendable, Equatable {
        case literal(String)
        /// A sandbox's id, a unique beginning of it, or its name.
        case reference
    }

    struct Resource: Sendable {
        /// As docs/openapi.yaml has it.
        var name: String
        var path: [Segment]
        var methods: [(HTTPRequest.Method, Handler)]
    }

    private var resources: [Resource] = []

    /// `path` as in docs/openapi.yaml: `/v1/sandboxes/{ref}`.
    mutating func add(_ path: String, _ methods: (HTTPRequest.Method, Handler)...) {
        let segments = path.split(separator: "/").map { $0 == "{ref}" ? .reference : Segment.literal(String($0)) }
        resources.append(Resource(name: path, path: segments, methods: methods))
    }

    /// `GET /v1/sandboxes` and so on, all of them.
    var names: [String] {
        resources.flatMap { resource in resource.methods.map { "\($0.0.rawValue) \(resource.name)" } }
    }

    /// The path of the resource that a request is for, as it was added; nil for one that there is none for.
    func name(of target: RequestTarget) -> String? {
        resources.first { $0.reference(in: target.path) != nil }?.name
    }

    /// Throws `Failure`: 404 for an unknown path, 405 for a method that its resource lacks.
    func handler(for request: Request, target: RequestTarget) throws(Failure) -> (Handler, reference: String) {
        for resource in resources {
            guard let reference = resource.reference(in: target.path) else { continue }
            if let (_, handler) = resource.methods.first(where: { $0.0 == request.method }) {
                return (handler, reference)
            }
            throw .methodNotAllowed(request.method, allowed: resource.methods.map(\.0))
        }
        throw .noSuchRoute("/" + target.path.joined(separator: "/"))
    }
}

/// A request with what its path and query say.
struct RoutedRequest: Sendable {
    var request: Request
    var context: APIContext
    /// Empty where the path has none.
    var reference: String
    var query: [(String, String)]
}

extension RouteTable.Resource {
    /// Nil when `segments` is another path.
    fileprivate func reference(in segments: [String]) -> String? {
        guard segments.count == path.count else { return nil }
        var reference = ""
        for (segment, wanted) in zip(segments, path) {
            switch wanted {
            case .literal(let text) where text != segment: return nil
            case .literal: continue
            case .reference where segment.isEmpty: return nil
            case .reference: reference = segment
            }
        }
        return reference
    }
}

/// Path and query of a request, percent-decoded.
struct RequestTarget: Equatable {
    var path: [String]
    var query: [(String, String)]

    static func == (a: RequestTarget, b: RequestTarget) -> Bool {
        a.path == b.path && a.query.map(\.0) == b.query.map(\.0) && a.query.map(\.1) == b.query.map(\.1)
    }

    /// Takes the origin form alone (RFC 9112, section 3.2.1): `/path?query`.
    init(_ text: String) throws(Failure) {
        guard text.utf8.first == UInt8(ascii: "/") else { throw .invalidRequest("the request target is no path") }
        let parts = text.utf8.dropFirst().split(
            separator: UInt8(ascii: "?"), maxSplits: 1, omittingEmptySubsequences: false)
        path = []
        for segment in parts[0].split(separator: UInt8(ascii: "/"), omittingEmptySubsequences: false) {
            path.append(try Self.decode(segment))
        }
        query = []
        guard parts.count == 2 else { return }
        for pair in parts[1].split(separator: UInt8(ascii: "&")) {
            let sides = pair.split(separator: UInt8(ascii: "="), maxSplits: 1, omittingEmptySubsequences: false)
            query.append(
                (try Self.decode(sides[0], plus: true), sides.count == 2 ? try Self.decode(sides[1], plus: true) : ""))
        }
    }

    private static func decode(_ bytes: some Sequence<UInt8>, plus: Bool = false) throws(Failure) -> String {
        var result: [UInt8] = []
        var iterator = bytes.makeIterator()
        while let byte = iterator.next() {
            switch byte {
            case UInt8(ascii: "%"):
                guard let high = iterator.next().flatMap(hexValue), let low = iterator.next().flatMap(hexValue) else {
                    throw .invalidRequest("the request target holds a % without two hexadecimal digits")
                }
                result.append(high << 4 | low)
            case UInt8(ascii: "+") where plus: result.append(UInt8(ascii: " "))
            default: result.append(byte)
            }
        }
        guard let text = String(validating: result, as: UTF8.self) else {
            throw .invalidRequest("the request target is no UTF-8")
        }
        return text
    }
}

private func hexValue(_ byte: UInt8) -> UInt8? {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): byte - UInt8(ascii: "0")
    case UInt8(ascii: "a")...UInt8(ascii: "f"): byte - UInt8(ascii: "a") + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): byte - UInt8(ascii: "A") + 10
    default: nil
    }
}
