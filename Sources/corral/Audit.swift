internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import Glibc

struct AuditCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "audit", abstract: "Check the audit journal, and show where it stands.",
        subcommands: [AuditVerify.self, AuditHead.self]
    )
}

struct AuditVerify: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "verify",
        abstract: "Find lines of the audit journal that were removed, altered, moved or put in.",
        discussion: """
            Reads files alone, so that it works on copies and without corrald. Each problem is one line of output: file, \
            line and what is wrong. Exits with 1 if there is one.

            Lines that were removed from the very end, and a journal written anew as a whole, show only against a hash that \
            is kept elsewhere: see "corral audit head" and --head.
            """
    )

    @Argument(
        help: ArgumentHelp(
            "Directories with a journal, or some of its files, oldest first (default: \(defaultDirectory)).",
            valueName: "dir|file"))
    var paths: [String] = []

    @Option(help: ArgumentHelp("A record with this hash must be there.", valueName: "sha256"))
    var head: String?

    private static let defaultDirectory = "/var/lib/corral/default/audit"

    func validate() throws {
        if let head, SHA256(head) == nil {
            throw ValidationError("--head: expected 64 hexadecimal digits in lower case")
        }
    }

    func execute() throws {
        let paths = paths.isEmpty ? [Self.defaultDirectory] : paths
        let directories = try paths.filter(JournalFiles.isDirectory)
        guard directories.isEmpty || directories.count == paths.count else {
            throw Failure("directories and files together: give one kind")
        }
        var isIntact = true
        if directories.isEmpty {
            let name = paths.count == 1 ? paths[0] : "\(paths.count) files"
            isIntact = try verify(files: paths, named: name, whole: false)
        }
        for directory in directories {
            let files = try JournalFiles.names(in: directory)
            guard !files.isEmpty else { throw Failure("\(TerminalText.neutralised(directory)): no journal is here") }
            isIntact = try verify(files: files, named: directory, whole: true) && isIntact
        }
        if !isIntact { throw ExitCode(Self.failureCode) }
    }

    private func verify(files: [String], named name: String, whole: Bool) throws -> Bool {
        var verifier = JournalVerifier(head: head.flatMap { SHA256($0) }, startsAtBeginning: whole)
        for file in files {
            verifier.begin(file: file)
            try JournalFiles.read(file) { line in
                if let line { verifier.add(line) } else { verifier.addPartialLine() }
            }
        }
        let report = verifier.finish()
        try Output.write(text(report, name, whole: whole).map { $0 + "\n" }.joined())
        return report.problems.isEmpty
    }

    private func text(_ report: JournalVerifier.Report, _ name: String, whole: Bool) -> [String] {
        let name = TerminalText.neutralised(name)
        var lines = report.problems.map { "\(TerminalText.neutralised($0.place.description)): \($0.finding)" }
        lines += report.statements.map {
            "\(TerminalText.neutralised($0.place.description)): states a gap: \($0.gap)"
        }
        if report.statementCount > report.statements.count {
            lines.append("\(name): \(report.statementCount - report.statements.count) more gaps are stated")
        }
        let runs = report.intact.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound) to \($0.upperBound)" }
        func count(_ number: Int, _ thing: String) -> String { "\(number) \(thing)\(number == 1 ? "" : "s")" }
        let counted = "\(count(report.lines, "line")) in \(count(report.files, "file"))"
        if report.problems.isEmpty {
            lines.append("\(name): intact: \(counted), \(runs.isEmpty ? "no record" : "records \(runs[0])")")
        } else {
            lines.append("\(name): NOT INTACT: \(count(report.problems.count, "problem")), \(counted)")
            lines.append("\(name): intact records: \(runs.isEmpty ? "none" : runs.joined(separator: ", "))")
        }
        if let last = report.last { lines.append("\(name): head: record \(last.number) \(last.hash)") }
        if report.endsWithinLine {
            lines.append("\(name): note: the last line is not whole: it is being written, or was torn")
        } else if whole, !report.isClosed {
            lines.append(
                "\(name): note: the last record does not tell of corrald's stop: it runs, was killed, or lines at the end were "
                    + "removed")
        }
        return lines
    }
}

struct AuditHead: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "head", abstract: "Show the last record of the audit journal: its number and its hash.",
        discussion:
            "Kept elsewhere, the hash proves later, by \"corral audit verify --head\", that nothing up to it was removed or written anew."
    )

    @OptionGroup var connection: ConnectionOptions

    func execute() throws {
        let journal = try connection.client().journal()
        try Output.write("\(journal.record) \(TerminalText.neutralised(journal.hash))\n")
        if journal.failing { Complaint.print("the audit journal cannot be written at present") }
    }
}

/// Files of a journal, as the user names them.
enum JournalFiles {
    private static let readSize = 1 << 20

    static func isDirectory(_ path: String) throws -> Bool {
        var status = stat()
        guard stat(path, &status) == 0 else { throw Failure(file: path, errno: errno) }
        return status.st_mode & S_IFMT == S_IFDIR
    }

    /// Paths, oldest first.
    static func names(in directory: String) throws -> [String] {
        guard let stream = opendir(directory) else { throw Failure(file: directory, errno: errno) }
        defer { closedir(stream) }
        var names: [String] = []
        while let entry = readdir(stream) {
            // In place: d_name is longer than its declared 256 bytes may hold, and shorter than its record.
            guard let offset = MemoryLayout<dirent>.offset(of: \.d_name) else { break }
            let name = String(cString: (UnsafeRawPointer(entry) + offset).assumingMemoryBound(to: CChar.self))
            if name.hasPrefix("audit-"), name.hasSuffix(".jsonl") { names.append(name) }
        }
        return names.sorted().map { "\(directory)/\($0)" }
    }

    /// Hands out each line without its line break, and nil for a beginning of one at the end.
    static func read(_ path: String, _ body: (ArraySlice<UInt8>?) -> Void) throws {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw Failure(file: path, errno: errno) }
        defer { close(descriptor) }
        var buffer = [UInt8](repeating: 0, count: readSize)
        var partial: [UInt8] = []
        while true {
            let count = buffer.withUnsafeMutableBytes { Glibc.read(descriptor, $0.baseAddress, $0.count) }
            if count < 0 {
                if errno == EINTR { continue }
                throw Failure(file: path, errno: errno)
            }
            if count == 0 { break }
            var start = 0
            while let end = buffer[start..<count].firstIndex(of: UInt8(ascii: "\n")) {
                if partial.isEmpty {
                    body(buffer[start..<end])
                } else {
                    partial += buffer[start..<end]
                    body(partial[...])
                    partial = []
                }
                start = end + 1
            }
            partial += buffer[start..<count]
        }
        if !partial.isEmpty { body(nil) }
    }
}
