internal import ArgumentParser
internal import CorralAPI
internal import CorralArchive
internal import CorralEvents
internal import Glibc

struct SnapshotCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "snapshot", abstract: "Keep what a sandbox has written, for others to start from.",
        usage: "corral snapshot <sandbox> <name>\n       corral snapshot ls | inspect | rm | export | import",
        subcommands: [
            SnapshotCreate.self, SnapshotList.self, SnapshotInspect.self, SnapshotRemove.self, SnapshotExport.self,
            SnapshotImport.self,
        ],
        defaultSubcommand: SnapshotCreate.self
    )
}

struct SnapshotCreate: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "create", abstract: "Keep what a sandbox has written.",
        discussion: """
            A running sandbox stands still meanwhile, so that the snapshot holds one moment. One whose command has ended \
            can be kept too, if it was started with --rm=false. Start from it with run --from.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Sandbox by id or name.")
    var sandbox: String

    @Argument(help: "Name of the snapshot.")
    var name: String

    func execute() throws {
        let snapshot = try connection.client().snapshot(sandbox, SnapshotRequest(name: name))
        try Output.write(TerminalText.neutralised(snapshot.name) + "\n")
        if snapshot.skipped > 0 {
            Complaint.print("left out: \(snapshot.skipped) sockets, devices or names that a layer cannot hold")
        }
    }
}

struct SnapshotList: ClientCommand {
    static let configuration = CommandConfiguration(commandName: "ls", abstract: "List snapshots.")

    @OptionGroup var connection: ConnectionOptions

    func execute() throws {
        try Output.write(
            table: ["NAME", "IMAGE", "PARENT", "SIZE", "CREATED"],
            connection.client().snapshots().map { snapshot in
                [
                    TerminalText.neutralised(snapshot.name), TerminalText.neutralised(snapshot.image),
                    snapshot.parent.map(TerminalText.neutralised) ?? "-", ByteCount.text(snapshot.size),
                    snapshot.createdAt,
                ]
            }
        )
    }
}

struct SnapshotInspect: ClientCommand {
    static let configuration = CommandConfiguration(commandName: "inspect", abstract: "Show a snapshot as JSON.")

    @OptionGroup var connection: ConnectionOptions

    @Argument var name: String

    func execute() throws { try Output.write(json: connection.client().snapshot(name)) }
}

struct SnapshotRemove: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove snapshots that no sandbox and no other snapshot stands on.")

    @OptionGroup var connection: ConnectionOptions

    @Argument var names: [String]

    func execute() throws {
        let client = try connection.client()
        for name in names {
            try client.removeSnapshot(name)
            try Output.write(TerminalText.neutralised(name) + "\n")
        }
    }
}

struct SnapshotExport: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "export", abstract: "Write a snapshot, and all it stands on down to the image, to standard output."
    )

    @OptionGroup var connection: ConnectionOptions

    @Argument var name: String

    func execute() throws {
        if Output.isTerminal { throw ValidationError("An archive is no text for a terminal; redirect it to a file.") }
        let download = try connection.client().exportSnapshot(name)
        while let piece = try download.next() { try Output.write(piece) }
    }
}

struct SnapshotImport: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Take in what export wrote, from standard input or a file.",
        discussion: "The image that it stands on has to be here, with the same content."
    )

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Name of the snapshot.")
    var name: String

    @Argument(help: "Archive; standard input without it.")
    var source = "-"

    func execute() throws {
        let client = try connection.client()
        let snapshot = try ArchiveFailure.telling {
            try client.importSnapshot(name, { try ArchiveInput.send(source, to: $0) })
        }
        try Output.write(TerminalText.neutralised(snapshot.name) + "\n")
    }
}
