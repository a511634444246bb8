internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents

struct ApiKeyCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apikey",
        abstract: "Make, list and revoke API keys, for clients that reach corrald over TCP.",
        discussion: "Over the unix socket alone, by those who may do everything.",
        subcommands: [ApiKeyCreate.self, ApiKeyList.self, ApiKeyRevoke.self]
    )
}

struct ApiKeyCreate: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Make a key and print it: the only time it is shown.",
        discussion: """
            read: look at sandboxes, events, metrics and the host. run: start commands, too, and do with sandboxes whatever \
            can be done. admin: change what holds for the host, too. Corral keeps a hash of the key alone.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Option(help: "What the key is for.")
    var name: String

    @Option(help: ArgumentHelp("read, run or admin.", valueName: "scope"))
    var scope: Scope = .run

    enum Scope: String, CaseIterable, ExpressibleByArgument {
        case read
        case run
        case admin

        var right: AccessRight {
            switch self {
            case .read: .read
            case .run: .run
            case .admin: .admin
            }
        }
    }

    @Option(
        help: ArgumentHelp("How long it is valid, such as 12h or 90d; else until it is revoked.", valueName: "time"))
    var expires: String?

    func execute() throws {
        let created = try connection.client().createApiKey(
            CreateApiKeyRequest(name: name, scope: scope.right, expiresIn: expires))
        // Alone on stdout, for a file or a variable.
        try Output.write(TerminalText.neutralised(created.token) + "\n")
    }
}

struct ApiKeyList: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "ls", abstract: "List the keys, without their secrets.")

    @OptionGroup var connection: ConnectionOptions

    func execute() throws {
        try Output.write(
            table: ["ID", "SCOPE", "CREATED", "EXPIRES", "LAST USED", "NAME"],
            connection.client().apiKeys().map { key in
                [
                    key.id, key.scope.rawValue, Self.minute(key.createdAt), key.expiresAt.map(Self.minute) ?? "never",
                    key.lastUsedAt.map(Self.minute) ?? "never", key.name,
                ].map(TerminalText.neutralised)
            }
        )
    }

    /// `2026-11-24T05:12Z`
    private static func minute(_ time: String) -> String {
        time.count > 16 ? time.prefix(16) + "Z" : time
    }
}

struct ApiKeyRevoke: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke", abstract: "Make a key invalid, and close the connections that it has opened.")

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "The key's id.")
    var id: String

    func execute() throws {
        try connection.client().revokeApiKey(id)
        try Output.write(TerminalText.neutralised(id) + "\n")
    }
}
