internal import HTTPTypes
internal import HummingbirdCore
internal import NIOCore

/// A request body that ends with an error once it holds too much.
struct LimitedBody: AsyncSequence, Sendable {
    typealias Element = ByteBuffer

    let base: RequestBody
    /// Bytes.
    let limit: Int

    /// Throws 413 for a body that states that it is larger, before any of it is read.
    static func limit(_ request: Request, to limit: Int) throws(Failure) -> RequestBody {
        if let stated = request.headers[.contentLength] {
            guard let length = Int(stated), length <= limit else { throw .bodyTooLarge(limit) }
            return request.body
        }
        guard request.headers[.transferEncoding] != nil else { return request.body }
        return RequestBody(asyncSequence: LimitedBody(base: request.body, limit: limit))
    }

    struct AsyncIterator: AsyncIteratorProtocol {
        fileprivate var base: RequestBody.AsyncIterator
        fileprivate let limit: Int
        fileprivate var count = 0

        mutating func next() async throws -> ByteBuffer? {
            guard let piece = try await base.next() else { return nil }
            count += piece.readableBytes
            guard count <= limit else { throw CorralServer.Failure.bodyTooLarge(limit) }
            return piece
        }
    }

    func makeAsyncIterator() -> AsyncIterator { AsyncIterator(base: base.makeAsyncIterator(), limit: limit) }
}

extension Failure {
    static func bodyTooLarge(_ limit: Int) -> Failure {
        var failure = Failure(
            .contentTooLarge, "invalid_request", "the request body is larger than \(limit) bytes, which is the most")
        failure.closes = true
        return failure
    }
}
