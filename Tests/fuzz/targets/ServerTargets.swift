internal import CorralAPI
@testable import CorralEngine
@testable import CorralEvents
@testable import CorralPolicy
@testable import CorralServer
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore
internal import NIOEmbedded
internal import NIOHTTP1

enum ServerTargets {
    private static let routes: RouteTable = {
        var routes = RouteTable()
        for path in ["/v1/sandboxes", "/v1/sandboxes/{ref}", "/v1/sandboxes/{ref}/policy", "/v1/events", "/healthz"] {
            routes.add(path, (.get, { _ in Response(status: .ok) }))
        }
        return routes
    }()

    /// The target of a request line, and the queries that routes take.
    static let request: Fuzz.Target = { bytes in
        do throws(Failure) {
            let target = try RequestTarget(String(decoding: bytes, as: UTF8.self))
            Fuzz.require(!target.path.isEmpty, "a target has a path")
            _ = routes.name(of: target)
            do {
                let query = try EventQuery(target.query)
                Fuzz.require(
                    (try? EventFilter(query: query.filter.query)) == query.filter, "a filter can be asked again")
            } catch {
                check(Failure(error))
            }
            _ = try? TraceSelection(words: target.query.map(\.1))
        } catch {
            check(error)
        }
    }

    /// Nobody has one of these.
    private static let keys = ApiKeys(file: ApiKeyFile(directory: "/nonexistent"), clock: { 0 }, report: { _ in })

    /// The bytes of connections: what swift-nio takes for the head of a request, and what is read of it before anything is answered.
    static let head: Fuzz.Target = { bytes in
        let channel = EmbeddedChannel(handler: ByteToMessageHandler(HTTPRequestDecoder()))
        defer { _ = try? channel.finish(acceptAlreadyClosed: true) }
        _ = try? channel.writeInbound(ByteBuffer(bytes: bytes))
        while let part = try? channel.readInbound(as: HTTPServerRequestPart.self) {
            guard case .head(let head) = part else { continue }
            var fields = HTTPFields()
            for (name, value) in head.headers {
                if let name = HTTPField.Name(name) { fields.append(HTTPField(name: name, value: value)) }
            }
            if let token = AccessControl.token(in: fields) {
                Fuzz.require(keys.authenticate(token) == nil, "no token is valid")
            }
            let method = HTTPRequest.Method(rawValue: head.method.rawValue)
            let request = Request(
                head: HTTPRequest(
                    method: method ?? .get, scheme: "http", authority: "corral", path: head.uri, headerFields: fields),
                body: RequestBody(buffer: ByteBuffer()))
            do throws(Failure) {
                _ = try LimitedBody.limit(request, to: 1 << 20)
                _ = AccessPolicy.rule(request.method, routes.name(of: try RequestTarget(head.uri)) ?? "")
            } catch {
                check(error)
            }
        }
    }

    /// A JSON body; the first byte says of which route.
    static let body: Fuzz.Target = { bytes in
        guard let kind = bytes.first else { return }
        let json = ByteBuffer(bytes: bytes.dropFirst())
        do {
            switch kind % 4 {
            case 0:
                let request = try CreateSandboxRequest(json: json)
                _ = try SandboxSpec(request)
            case 1:
                let source = try PolicySource(json: json)
                _ = try Policy(yaml: source.yaml, file: source.file)
            case 2: _ = try EnforceRequest(json: json)
            default:
                let request = try KillRequest(json: json)
                if let signal = request.signal.flatMap(SignalName.number) {
                    Fuzz.require((1...64).contains(signal), "signal \(signal)")
                }
            }
        } catch {
            let failure = Failure(error)
            check(failure)
            Fuzz.require(failure.status.code < 500, "a bad request is the client's: \(failure)")
        }
    }

    private static func check(_ failure: Failure) {
        Fuzz.require(!failure.body.message.isEmpty, "a refusal can be told")
        Fuzz.require(failure.response.status == failure.status, "and sent")
    }

    /// The frames of an attached client's body: the same however they are cut.
    static let attach: Fuzz.Target = { bytes in
        let (whole, pieces) = Fuzz.pieces(bytes)
        Fuzz.require(inputs([whole]) == inputs(pieces), "cuts mean nothing")
    }

    /// Inputs with pieces of standard input joined, as text; the error, if any, last.
    private static func inputs(_ pieces: [[UInt8]]) -> [String] {
        var parser = AttachInputParser()
        var told: [String] = []
        var stdin: [UInt8] = []
        func end(_ last: String?) {
            if !stdin.isEmpty { told.append("stdin \(stdin)") }
            stdin = []
            if let last { told.append(last) }
        }
        do throws(FrameError) {
            for piece in pieces {
                for input in try parser.parse(ByteBuffer(bytes: piece)) {
                    if case .stdin(let more) = input {
                        stdin += more.readableBytesView
                    } else {
                        end("\(input)")
                    }
                }
            }
            try parser.end()
            end(nil)
        } catch {
            // What an erroneous piece completed before its error is not told: the connection ends.
            return ["\(error)"]
        }
        return told
    }
}
