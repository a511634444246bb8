public import CorralKernel

/// A file that is delivered at `/run/secrets/NAME`.
public struct Secret: Sendable {
    public var name: String
    public var content: SecretContent

    /// Throws `invalidRequest`.
    public init(name: String, content: some Collection<UInt8>) throws(EngineError) {
        guard InitChannel.isSecretName(name) else {
            throw EngineError(
                .invalidRequest,
                "secrets: expected names of 1 to 63 letters, digits, dots, hyphens or underscores, the first no dot")
        }
        guard content.count <= SecretContent.limit else {
            throw EngineError(.invalidRequest, "secrets: \(name): expected at most \(SecretContent.limit) bytes")
        }
        self.name = name
        self.content = SecretContent(content)
    }

    /// Of one sandbox.
    static let most = 32

    static func check(_ secrets: [Secret]) throws(EngineError) {
        guard secrets.count <= most else {
            throw EngineError(.invalidRequest, "secrets: expected at most \(most)")
        }
        guard Set(secrets.map(\.name)).count == secrets.count else {
            throw EngineError(.invalidRequest, "secrets: a name stands twice")
        }
    }
}

extension Engine {
    /// Before the first command; that they could not be written is heard as the command's failure to start.
    func deliver(_ secrets: [Secret], to sandbox: LiveSandbox, tag: UInt64) throws {
        let user = sandbox.spec.command.user ?? .root
        for secret in secrets {
            do {
                try sandbox.warm.channel.deliver(
                    secret: secret.name, secret.content, tag: tag, uid: user.uid, gid: user.gid)
            } catch {
                throw EngineError(.internal, "the secret \(secret.name) could not be delivered", detail: ["\(error)"])
            }
        }
    }
}
