internal import CorralControl
internal import Glibc

/// A file for /run/secrets. Its content is overwritten when the last owner lets go; what came before it (the request's text, the
/// memory of whoever read it) is not.
public final class SecretContent: Sendable {
    // Safety: written by `init` alone, before anybody else has it.
    nonisolated(unsafe) private let bytes: UnsafeMutableRawBufferPointer

    /// Most bytes of one secret.
    public static let limit = Int(CORRAL_SECRET_BYTES)

    public init(_ content: some Collection<UInt8>) {
        bytes = .allocate(byteCount: content.count, alignment: 1)
        bytes.copyBytes(from: content)
    }

    deinit {
        if let start = bytes.baseAddress { explicit_bzero(start, bytes.count) }
        bytes.deallocate()
    }

    public var count: Int { bytes.count }

    fileprivate func append(to message: inout ControlMessage) { message.append(contentsOf: bytes) }
}

extension InitChannel {
    /// Names that corral-init takes: 1 to 63 letters, digits, `_`, `-` and `.`, the first no `.`.
    public static func isSecretName(_ name: String) -> Bool {
        name.isPathComponent(most: Int(CORRAL_SECRET_NAME_BYTES) - 1)
    }

    /// Writes /run/secrets/`name`, readable by the user alone. `execFailed` with the same `tag` tells that it could not be written,
    /// and commands are refused from then on. Before the first `exec`.
    public func deliver(
        secret name: String, _ content: SecretContent, tag: UInt64, uid: UInt32, gid: UInt32
    ) throws(KernelError) {
        guard let count = UInt32(exactly: content.count), content.count <= SecretContent.limit else {
            throw KernelError(call: "secret", subject: name, errno: E2BIG)
        }
        var message = ControlMessage(CORRAL_SECRET, tag: tag)
        message.append(uid)
        message.append(gid)
        message.append(count)
        message.append(UInt32(0))
        try message.append(field: name, width: CORRAL_SECRET_NAME_BYTES, named: "name")
        content.append(to: &message)
        var bytes = try message.finish()
        defer {
            bytes.withUnsafeMutableBytes { buffer in
                if let start = buffer.baseAddress { explicit_bzero(start, buffer.count) }
            }
        }
        try send(bytes)
    }
}
