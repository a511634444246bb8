internal import CorralEngine
internal import HTTPTypes
internal import Hummingbird
internal import Logging
internal import NIOCore

extension RoutedRequest {
    /// Gives the body to `work` piece by piece, as fast as it takes them.
    func uploading<Value: Sendable>(
        _ work: @escaping @Sendable (ByteInlet) async throws -> Value
    ) async throws -> Value {
        let inlet = ByteInlet()
        let body = request.body
        return try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                do {
                    for try await piece in body {
                        guard await inlet.write(Array(piece.readableBytesView)) else { return }
                    }
                    inlet.finish()
                } catch {
                    inlet.finish(throwing: error)
                }
            }
            defer { group.cancelAll() }
            return try await work(inlet)
        }
    }

    /// The values of the query's keys; throws for a key that is not among `known`, and for one that comes twice.
    func queryValues(_ known: String...) throws(Failure) -> [String: String] {
        var values: [String: String] = [:]
        for (key, value) in query {
            guard known.contains(key) else {
                throw .invalidRequest("unknown query key \"\(key)\"; expected \(known.joined(separator: ", "))")
            }
            guard values.updateValue(value, forKey: key) == nil else { throw .invalidRequest("\(key) is given twice") }
        }
        return values
    }
}

extension [String: String] {
    func required(_ key: String) throws(Failure) -> String {
        guard let value = self[key], !value.isEmpty else { throw .invalidRequest("the query lacks \(key)") }
        return value
    }

    func flag(_ key: String) throws(Failure) -> Bool {
        switch self[key] {
        case nil, "false": return false
        case "true": return true
        default: throw .invalidRequest("\(key): expected true or false")
        }
    }
}

extension Response {
    /// An archive as it is made. What goes wrong then cuts the answer off.
    static func archive(_ outlet: ByteOutlet, _ context: APIContext) -> Response {
        // The body below never runs when the client is gone before the head is written.
        context.channel.closeFuture.whenComplete { _ in outlet.close() }
        return Response(
            status: .ok, headers: [.contentType: "application/x-tar", .connection: "close"],
            body: ResponseBody { writer in
                let out = StreamWriter(writer, channel: context.channel)
                defer { outlet.close() }
                do {
                    while let piece = try await outlet.next() { try await out.write(ByteBuffer(bytes: piece)) }
                } catch {
                    context.logger.notice("an archive was cut off", metadata: ["error": "\(error)"])
                    throw ClientGone()
                }
                try await APIResponder.finish(out)
            }
        )
    }
}
