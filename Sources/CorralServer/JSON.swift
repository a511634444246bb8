internal import CorralAPI
internal import HTTPTypes
internal import Hummingbird
internal import NIOCore

#if canImport(FoundationEssentials)
    internal import FoundationEssentials
#else
    internal import Foundation
#endif

extension Response {
    /// A JSON body with one line break at its end.
    static func json(_ value: some Encodable, status: HTTPResponse.Status = .ok) -> Response {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        var bytes: [UInt8]
        do {
            bytes = Array(try encoder.encode(value))
        } catch {
            // No type of ours can fail here; a number that JSON cannot hold would.
            return Response(status: .internalServerError)
        }
        bytes.append(UInt8(ascii: "\n"))
        return Response(
            status: status, headers: [.contentType: "application/json"],
            body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes))
        )
    }
}

/// The keys a JSON object may have; any other key is refused.
indirect enum KnownKeys: Sendable {
    /// Not looked into: a plain value, or an object whose keys are the caller's.
    case any
    case object([String: KnownKeys])
    /// Each of its entries.
    case list(KnownKeys)
}

/// A request body whose every key is known, so that a misspelt one is refused and not ignored.
protocol RequestDocument: Decodable {
    static var keys: KnownKeys { get }
}

extension CreateSandboxRequest: RequestDocument {
    static let keys = KnownKeys.object([
        "name": .any,
        "image": .any,
        "policy": PolicySource.keys,
        "command": .any,
        "env": .any,
        "workingDirectory": .any,
        "limits": .object([
            "cpu": .any, "cpuWeight": .any, "memory": .any, "pids": .any, "disk": .any, "openFiles": .any,
            "timeout": .any,
        ]),
        "stdin": .any,
        "user": .object(["uid": .any, "gid": .any]),
        "terminal": .object(["rows": .any, "columns": .any]),
        "detach": .any,
        "autoRemove": .any,
        "mounts": .list(.object(["source": .any, "target": .any, "readOnly": .any])),
        "from": .any,
        "imageCommand": .any,
        "publish": .list(
            .object(["hostAddress": .any, "hostPort": .any, "sandboxPort": .any, "protocol": .any])),
        "secrets": .any,
        "testSwitches": .object(["keepCapabilities": .any, "noSeccomp": .any]),
    ])
}

extension PolicySource: RequestDocument {
    static let keys = KnownKeys.object(["file": .any, "yaml": .any])
}

extension EnforceRequest: RequestDocument {
    static let keys = KnownKeys.object(["cgroup": .any, "pid": .any, "policy": PolicySource.keys])
}

extension SnapshotRequest: RequestDocument {
    static let keys = KnownKeys.object(["name": .any])
}

extension KillRequest: RequestDocument {
    static let keys = KnownKeys.object(["signal": .any, "exec": .any])
}

extension ExecRequest: RequestDocument {
    static let keys = KnownKeys.object([
        "command": .any,
        "env": .any,
        "workingDirectory": .any,
        "user": .object(["uid": .any, "gid": .any]),
        "stdin": .any,
        "terminal": .object(["rows": .any, "columns": .any]),
        "detach": .any,
    ])
}

extension RequestDocument {
    /// Throws `Failure` with the field at fault.
    init(json bytes: ByteBuffer) throws(Failure) {
        do {
            self = try JSONDecoder().decode(Checked<Self>.self, from: Data(bytes.readableBytesView)).document
        } catch let error as DecodingError {
            throw Failure(decoding: error)
        } catch let failure as Failure {
            throw failure
        } catch {
            throw .invalidRequest("the body is no JSON: \(error)")
        }
    }
}

private struct Checked<Document: RequestDocument>: Decodable {
    var document: Document

    init(from decoder: any Decoder) throws {
        try Document.keys.check(decoder.container(keyedBy: AnyKey.self), at: "")
        document = try Document(from: decoder)
    }
}

private struct AnyKey: CodingKey {
    var stringValue: String
    var intValue: Int? { nil }

    init(stringValue: String) { self.stringValue = stringValue }
    init?(intValue: Int) { return nil }
}

extension KnownKeys {
    fileprivate func check(_ container: KeyedDecodingContainer<AnyKey>, at path: String) throws {
        guard case .object(let known) = self else { return }
        for key in container.allKeys {
            guard let below = known[key.stringValue] else {
                throw Failure.invalidRequest(
                    "unknown field \"\(path + key.stringValue)\"",
                    detail: ["expected one of \(known.keys.sorted().joined(separator: ", "))"]
                )
            }
            guard try !container.decodeNil(forKey: key) else { continue }
            switch below {
            case .any: continue
            case .object:
                try below.check(
                    container.nestedContainer(keyedBy: AnyKey.self, forKey: key), at: path + key.stringValue + "."
                )
            case .list(let entry):
                var entries = try container.nestedUnkeyedContainer(forKey: key)
                while !entries.isAtEnd {
                    let index = entries.currentIndex
                    try entry.check(
                        entries.nestedContainer(keyedBy: AnyKey.self), at: "\(path)\(key.stringValue)[\(index)].")
                }
            }
        }
    }
}

extension Failure {
    init(decoding error: DecodingError) {
        switch error {
        case .keyNotFound(let key, let context):
            self = .invalidRequest("missing field \"\((context.codingPath + [key]).dotted)\"")
        case .valueNotFound(let type, let context):
            self = .invalidRequest("\(context.codingPath.dotted): null, expected \(jsonName(of: type))")
        case .typeMismatch(let type, let context):
            let subject = context.codingPath.isEmpty ? "the body" : context.codingPath.dotted
            self = .invalidRequest("\(subject): expected \(jsonName(of: type))")
        case .dataCorrupted(let context) where !context.codingPath.isEmpty:
            self = .invalidRequest("\(context.codingPath.dotted): \(context.debugDescription)")
        case .dataCorrupted(let context):
            let reason = context.underlyingError.map { "\($0)" } ?? context.debugDescription
            self = .invalidRequest("the body is no JSON", detail: [reason])
        @unknown default:
            self = .invalidRequest("the body is not what this route takes")
        }
    }
}

extension [any CodingKey] {
    /// `limits.pids`, `command[2]`.
    fileprivate var dotted: String {
        reduce(into: "") { path, key in
            if let index = key.intValue {
                path += "[\(index)]"
            } else {
                path += path.isEmpty ? key.stringValue : "." + key.stringValue
            }
        }
    }
}

private func jsonName(of type: any Any.Type) -> String {
    switch type {
    case is String.Type: "a string"
    case is Bool.Type: "true or false"
    case is Double.Type: "a number"
    case is any FixedWidthInteger.Type: "a whole number"
    case is any Sequence.Type where type is any ExpressibleByDictionaryLiteral.Type: "an object"
    case is any ExpressibleByArrayLiteral.Type: "an array"
    default: "an object"
    }
}
