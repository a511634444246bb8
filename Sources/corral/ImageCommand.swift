internal import ArgumentParser
internal import CorralAPI
internal import CorralArchive
internal import CorralEvents
internal import Glibc

struct ImageCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "image", abstract: "Import, list and remove root file systems for sandboxes.",
        subcommands: [ImageImport.self, ImageList.self, ImageInspect.self, ImageRemove.self]
    )
}

struct ImageImport: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Take in an image.",
        discussion: """
            The source is a tar archive (gzip, xz or zstd too) of a root file system, of an OCI layout or of docker save, a \
            directory of one of these, or - for an archive on standard input. What it is shows by itself. Digests are \
            checked; an archive with a path that leads out of it is refused whole.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Name to give it, such as python or team/python:3.12.")
    var name: String

    @Argument(help: "Archive, directory, or -.")
    var source: String

    func execute() throws {
        let client = try connection.client()
        let image = try ArchiveFailure.telling {
            try client.importImage(name, { try ArchiveInput.send(source, to: $0) })
        }
        try Output.write("\(TerminalText.neutralised(image.name)) \(image.digest ?? "")\n")
        let omitted = image.omitted
        for (count, what) in [
            (omitted.devices, "device nodes"), (omitted.capabilities, "file capabilities"),
            (omitted.attributes, "extended attributes"),
        ] where count > 0 {
            Complaint.print("left out: \(count) \(what), which a sandbox could not use")
        }
    }
}

struct ImageList: ClientCommand {
    static let configuration = CommandConfiguration(commandName: "ls", abstract: "List images.")

    @OptionGroup var connection: ConnectionOptions

    func execute() throws {
        try Output.write(
            table: ["NAME", "DIGEST", "SIZE", "IMPORTED"],
            connection.client().images().map { image in
                [
                    TerminalText.neutralised(image.name), String((image.digest ?? "-").dropFirst(7).prefix(12)),
                    image.digest == nil ? "-" : ByteCount.text(image.size), image.importedAt ?? "-",
                ]
            }
        )
    }
}

struct ImageInspect: ClientCommand {
    static let configuration = CommandConfiguration(commandName: "inspect", abstract: "Show an image as JSON.")

    @OptionGroup var connection: ConnectionOptions

    @Argument var name: String

    func execute() throws { try Output.write(json: connection.client().image(name)) }
}

struct ImageRemove: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "rm", abstract: "Remove images that no sandbox and no snapshot stands on.")

    @OptionGroup var connection: ConnectionOptions

    @Argument var names: [String]

    func execute() throws {
        let client = try connection.client()
        for name in names {
            try client.removeImage(name)
            try Output.write(TerminalText.neutralised(name) + "\n")
        }
    }
}

/// Archives that the user names.
enum ArchiveInput {
    private static let piece = 256 << 10

    /// A file as it is, a directory as a tar archive, or standard input for `-`.
    static func send(_ source: String, to upload: Upload) throws {
        if source == "-" { return try send(STDIN_FILENO, source, to: upload) }
        let descriptor = open(source, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(file: source, errno: errno) }
        let file = Handle(owning: descriptor)
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw Failure(file: source, errno: errno) }
        guard status.st_mode & S_IFMT == S_IFDIR else { return try send(descriptor, source, to: upload) }
        let writer = TarWriter { try upload.write($0) }
        var packer = TreePacker(into: writer)
        try packer.pack(file, as: .root)
        try writer.finish()
    }

    private static func send(_ descriptor: Int32, _ name: String, to upload: Upload) throws {
        var buffer = [UInt8](repeating: 0, count: piece)
        while true {
            let count = buffer.withUnsafeMutableBytes { read(descriptor, $0.baseAddress, $0.count) }
            if count < 0, errno == EINTR { continue }
            guard count >= 0 else { throw Failure(file: name, errno: errno) }
            if count == 0 { return }
            try buffer.withUnsafeBytes { try upload.write(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
        }
    }
}

enum ArchiveFailure {
    /// What is wrong with a tree or an archive on this side, as this program's failures are told.
    static func telling<Value>(_ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch let error as ArchiveError {
            throw Failure(TerminalText.neutralised(error.description))
        }
    }
}

enum ByteCount {
    /// `12.3 MiB`.
    static func text(_ count: UInt64) -> String {
        var rest = Double(count)
        for unit in ["B", "KiB", "MiB", "GiB"] {
            if rest < 1024 { return unit == "B" ? "\(count) B" : "\(rounded(rest)) \(unit)" }
            rest /= 1024
        }
        return "\(rounded(rest)) TiB"
    }

    private static func rounded(_ number: Double) -> Double { (number * 10).rounded() / 10 }
}
