internal import ArgumentParser
internal import CorralAPI
internal import CorralArchive
internal import CorralEvents
internal import Glibc

struct Copy: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "cp", abstract: "Copy files into a sandbox or out of one.",
        discussion: """
            A directory is copied with all in it: into the destination when that is a directory, else as the destination. A \
            source that ends in /. stands for what is in the directory. - stands for a tar archive on standard input or \
            output. What is copied in belongs to the sandbox's root. A paused sandbox will do, and one whose command has \
            ended if it was started with --rm=false.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Flag(name: [.customShort("L"), .long], help: "Copy what a link leads to, when the source is one.")
    var followLink = false

    @Argument(help: ArgumentHelp("What to copy.", valueName: "[sandbox:]source"))
    var source: String

    @Argument(help: ArgumentHelp("Where to.", valueName: "[sandbox:]destination"))
    var destination: String

    private enum Side {
        case here(String)
        case sandbox(String, path: String)

        /// Like Docker: a name and a colon, unless something before the colon makes it a path.
        init(_ text: String) throws {
            guard let colon = text.firstIndex(of: ":"), !text[..<colon].isEmpty, !text[..<colon].contains("/"),
                !text.hasPrefix(".")
            else {
                self = .here(text)
                return
            }
            let path = String(text[text.index(after: colon)...])
            guard path.hasPrefix("/") else {
                throw ValidationError("Expected an absolute path in the sandbox, such as \(text[..<colon]):/tmp.")
            }
            self = .sandbox(String(text[..<colon]), path: path)
        }
    }

    func validate() throws {
        switch (try Side(source), try Side(destination)) {
        case (.here, .sandbox), (.sandbox, .here): return
        case (.here, .here): throw ValidationError("One side has to be SANDBOX:PATH.")
        case (.sandbox, .sandbox): throw ValidationError("Copying from one sandbox to another goes in two steps.")
        }
    }

    func execute() throws {
        let client = try connection.client()
        try ArchiveFailure.telling {
            switch (try Side(source), try Side(destination)) {
            case (.here(let local), .sandbox(let reference, let path)): try copyIn(client, local, reference, path)
            case (.sandbox(let reference, let path), .here(let local)): try copyOut(client, reference, path, local)
            default: return
            }
        }
    }

    private func copyIn(_ client: Client, _ local: String, _ reference: String, _ path: String) throws {
        if local == "-" {
            _ = try client.copyIn(reference, path: path, .into) { try ArchiveInput.send(local, to: $0) }
            return
        }
        let place = LocalPlace(local)
        if place.isContents {
            let directory = try Handle(directory: local)
            _ = try client.copyIn(reference, path: path, .contents) { upload in
                try Self.archive(to: upload) { try $0.pack(directory, as: .root) }
            }
            return
        }
        guard let name = place.name else { throw Failure("\(TerminalText.neutralised(local)): has no name to copy") }
        _ = try client.copyIn(reference, path: path, .entry) { upload in
            try Self.archive(to: upload) { packer in
                guard followLink else {
                    return try packer.pack(
                        name, in: try Handle(directory: place.parent), as: ArchivePath(names: [name]))
                }
                let descriptor = open(local, O_RDONLY | O_CLOEXEC)
                guard descriptor >= 0 else { throw Failure(file: local, errno: errno) }
                let file = Handle(owning: descriptor)
                var status = stat()
                if fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
                    try packer.pack(file, as: ArchivePath(names: [name]))
                } else {
                    try packer.packFile(file, as: ArchivePath(names: [name]))
                }
            }
        }
    }

    private static func archive(to upload: Upload, _ body: (inout TreePacker) throws -> Void) throws {
        let writer = TarWriter { try upload.write($0) }
        var packer = TreePacker(into: writer, .init(owner: .root))
        try body(&packer)
        try writer.finish()
    }

    private func copyOut(_ client: Client, _ reference: String, _ path: String, _ local: String) throws {
        let isContents = path.hasSuffix("/.")
        let download = try client.copyOut(reference, path: path, contents: isContents, follow: followLink)
        if local == "-" {
            while let piece = try download.next() { try Output.write(piece) }
            return
        }
        var status = stat()
        let exists = stat(local, &status) == 0
        let isDirectory = exists && status.st_mode & S_IFMT == S_IFDIR
        let reader = TarReader(DownloadSource(download))
        // What a hostile sandbox put into the archive can do no more than be files below the destination.
        var options = TreeExtractor.Options(owner: .caller, replacesDirectories: false)
        if isDirectory || isContents {
            if !exists {
                guard mkdir(local, 0o777) == 0 else { throw Failure(file: local, errno: errno) }
                options.setsRoot = true
            }
            let extractor = TreeExtractor(into: try Handle(directory: local), options)
            try reader.copy(to: extractor)
            return try extractor.finish()
        }
        let place = LocalPlace(local)
        guard let name = place.name, !local.hasSuffix("/") else { throw Failure(file: local, errno: ENOENT) }
        let extractor = TreeExtractor(into: try Handle(directory: place.parent), options)
        try reader.copy(to: RenamingSink(extractor, top: name))
        try extractor.finish()
    }
}

/// A path of the user's, taken apart.
private struct LocalPlace {
    var parent: String
    /// Nil where there is none to give: `/`, `..`.
    var name: FileName?
    /// It ends in `/.`, or is `.`.
    var isContents: Bool

    init(_ path: String) {
        isContents = path == "." || path.hasSuffix("/.")
        let names = path.split(separator: "/")
        let prefix = path.hasPrefix("/") ? "/" : ""
        parent = prefix + names.dropLast().joined(separator: "/")
        if parent.isEmpty { parent = "." }
        if let last = names.last, last != ".", last != ".." { name = FileName(String(last)) }
    }
}

private final class DownloadSource: ByteSource {
    private let download: Download
    private var piece: ArraySlice<UInt8> = []

    init(_ download: Download) {
        self.download = download
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        while piece.isEmpty {
            guard let next = try download.next() else { return 0 }
            piece = next[...]
        }
        let taken = piece.prefix(buffer.count)
        buffer.copyBytes(from: taken)
        piece = piece.dropFirst(taken.count)
        return taken.count
    }
}
