internal import FoundationEssentials
internal import Glibc

/// A request body that the caller writes as it comes.
public final class Upload {
    /// corrald has answered, or is gone, and takes no more.
    public struct Answered: Error {}

    private let connection: ClientConnection

    init(_ connection: ClientConnection) {
        self.connection = connection
    }

    /// Throws `Answered`, which the caller lets pass.
    public func write(_ bytes: UnsafeRawBufferPointer) throws {
        guard !bytes.isEmpty else { return }
        try send(Array("\(String(bytes.count, radix: 16))\r\n".utf8) + bytes + [0x0d, 0x0a])
    }

    func finish() throws {
        try send(Array("0\r\n\r\n".utf8))
    }

    /// An answer that comes before the end is a refusal, behind which corrald reads no further: to wait for room alone would be
    /// to wait for ever.
    private func send(_ bytes: [UInt8]) throws {
        var rest = bytes[...]
        while !rest.isEmpty {
            guard try connection.socket.waitForRoom() else { throw Answered() }
            do throws(ClientError) {
                rest = rest.dropFirst(try connection.socket.writeWithoutWaiting(rest) ?? 0)
            } catch {
                if case .system(_, _, let number) = error, number == EPIPE || number == ECONNRESET { throw Answered() }
                throw error
            }
        }
    }
}

/// An answer's body, as it comes.
public final class Download {
    private let connection: ClientConnection

    init(_ connection: ClientConnection) {
        self.connection = connection
    }

    /// Nil at the end. Throws when it is cut off.
    public func next() throws(ClientError) -> [UInt8]? { try connection.readPiece(waiting: true) }
}

/// Images, snapshots and files: archives in either direction, each on a connection of its own.
extension Client {
    static let archiveType = "application/x-tar"

    private func upload<Answer: Decodable>(
        _ method: String, _ target: String, _ produce: (Upload) throws -> Void
    ) throws -> Answer {
        let connection = try ClientConnection(path: path)
        try connection.send(method, target, body: .chunks(type: Self.archiveType))
        let upload = Upload(connection)
        do {
            try produce(upload)
            try upload.finish()
        } catch is Upload.Answered {
            // What it says is read now.
        }
        try Self.expectSuccess(connection)
        let bytes = try connection.readBody(limit: Self.largestAnswer)
        do {
            return try JSONDecoder().decode(Answer.self, from: Data(bytes))
        } catch {
            throw ClientError.badResponse("\(method) \(target): \(error)")
        }
    }

    private func download(_ target: String) throws(ClientError) -> Download {
        let connection = try ClientConnection(path: path)
        try connection.send("GET", target)
        try Self.expectSuccess(connection)
        return Download(connection)
    }

    /// `produce` writes an archive: a root file system, an OCI layout or what `docker save` makes.
    public func importImage(_ name: String, _ produce: (Upload) throws -> Void) throws -> Image {
        try upload("POST", "/v1/images?name=\(Self.percentEncoded(name))", produce)
    }

    public func images() throws(ClientError) -> [Image] { try call("GET", "/v1/images") }

    public func image(_ name: String) throws(ClientError) -> Image {
        try call("GET", "/v1/images/\(Self.percentEncoded(name))")
    }

    public func removeImage(_ name: String) throws(ClientError) {
        _ = try exchange("DELETE", "/v1/images/\(Self.percentEncoded(name))")
    }

    /// Keeps what a sandbox has written.
    public func snapshot(_ reference: String, _ request: SnapshotRequest) throws(ClientError) -> Snapshot {
        try call("POST", Self.path(of: reference) + "/snapshot", body: .json(try encode(request)))
    }

    public func snapshots() throws(ClientError) -> [Snapshot] { try call("GET", "/v1/snapshots") }

    public func snapshot(_ name: String) throws(ClientError) -> Snapshot {
        try call("GET", "/v1/snapshots/\(Self.percentEncoded(name))")
    }

    public func removeSnapshot(_ name: String) throws(ClientError) {
        _ = try exchange("DELETE", "/v1/snapshots/\(Self.percentEncoded(name))")
    }

    public func exportSnapshot(_ name: String) throws(ClientError) -> Download {
        try download("/v1/snapshots/\(Self.percentEncoded(name))/export")
    }

    public func importSnapshot(_ name: String, _ produce: (Upload) throws -> Void) throws -> Snapshot {
        try upload("POST", "/v1/snapshots?name=\(Self.percentEncoded(name))", produce)
    }

    /// How an archive meets what is at its destination.
    public enum CopyMode: String, Sendable {
        /// Into a directory that is there.
        case into
        /// The archive's one top entry goes into the directory at the path, or becomes what the path names.
        case entry
        /// The archive's root becomes the directory at the path.
        case contents
    }

    /// Unpacks an archive in a sandbox.
    public func copyIn(
        _ reference: String, path: String, _ mode: CopyMode, _ produce: (Upload) throws -> Void
    ) throws -> CopyResult {
        try upload(
            "PUT", Self.path(of: reference) + "/files?path=\(Self.percentEncoded(path))&mode=\(mode.rawValue)", produce)
    }

    /// A tar archive of what is at `path`.
    public func copyOut(
        _ reference: String, path: String, contents: Bool = false, follow: Bool = false
    ) throws(ClientError) -> Download {
        try download(
            Self.path(of: reference) + "/files?path=\(Self.percentEncoded(path))" + (contents ? "&contents=true" : "")
                + (follow ? "&follow=true" : ""))
    }
}
