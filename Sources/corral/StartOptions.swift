internal import ArgumentParser
internal import CorralAPI
internal import Glibc

/// What `run` and `create` ask of a sandbox.
struct StartOptions: ParsableArguments {
    @Option(help: ArgumentHelp("Policy file.", valueName: "file"))
    var policy: String?

    @Option(help: "Image of the root file system; host when neither this nor the policy names one.")
    var image: String?

    @Option(help: "Name of the sandbox.")
    var name: String?

    @Option(help: "CPUs' worth of time, such as 0.5.")
    var cpu: Double?

    @Option(help: "Memory, such as 256MiB.")
    var memory: String?

    @Option(help: "Share of the CPUs when they are short, 1 to 10000; 100 is what others have.")
    var cpuWeight: Int?

    @Option(help: "Most processes and threads at once.")
    var pids: Int?

    @Option(help: "Bytes that the sandbox may write, such as 512MiB.")
    var disk: String?

    @Option(help: "Most descriptors that a process may have open.")
    var openFiles: Int?

    @Option(
        help: ArgumentHelp(
            "Give the commands a file's content at /run/secrets/NAME. May be repeated.", valueName: "name=file"))
    var secret: [String] = []

    @Option(help: "Kill the command after this time, such as 5m.")
    var timeout: String?

    @Option(
        name: .shortAndLong,
        help: ArgumentHelp(
            "Let what comes to a port of the host into the sandbox, TCP unless it ends in /udp; without a host port, a free one.",
            valueName: "[address:][port:]port[/udp]")
    )
    var publish: [String] = []

    @Option(
        name: [.customShort("v"), .customLong("mount")],
        help: ArgumentHelp(
            "Show a file or directory of corrald's host inside, read-only without :rw; where its operator allows it.",
            valueName: "source:target[:ro|rw]"))
    var mount: [String] = []

    @Option(help: ArgumentHelp("Start from a snapshot, on the image it was made on.", valueName: "snapshot"))
    var from: String?

    @Flag(help: .hidden)
    var testKeepCapabilities = false

    @Flag(help: .hidden)
    var testNoSeccomp = false

    func validate() throws {
        _ = try mounts()
    }

    private func mounts() throws -> [MountRequest] {
        try mount.map { text in
            guard let mount = MountRequest(text) else {
                throw ValidationError("--mount: expected source:target[:ro|rw], such as /srv/data:/data:ro")
            }
            return mount
        }
    }

    static func policySource(_ file: String) throws -> PolicySource {
        PolicySource(file: file, yaml: try TextFile.read(file))
    }

    /// Without a command, or with one to which `CommandOptions` add the rest.
    func request() throws -> CreateSandboxRequest {
        let ports = try publish.map { text in
            guard let port = PublishedPort(text) else {
                throw ValidationError(
                    "--publish: expected [address:][port:]port[/udp], such as 8080:80 or 127.0.0.1:5353:53/udp")
            }
            return port
        }
        let limits = LimitOverrides(
            cpu: cpu, cpuWeight: cpuWeight, memory: memory, pids: pids, disk: disk, openFiles: openFiles,
            timeout: timeout)
        return CreateSandboxRequest(
            name: name, image: image,
            policy: try policy.map(Self.policySource),
            limits: limits == LimitOverrides() ? nil : limits,
            testSwitches: testKeepCapabilities || testNoSeccomp
                ? .init(keepCapabilities: testKeepCapabilities, noSeccomp: testNoSeccomp) : nil,
            publish: ports.isEmpty ? nil : ports, secrets: try SecretFiles.read(secret),
            mounts: mount.isEmpty ? nil : try mounts(), from: from
        )
    }
}

/// What `run`, `create` and `exec` say about a command.
struct CommandOptions: ParsableArguments {
    @Option(
        name: [.long, .customShort("e")],
        help: ArgumentHelp(
            "Set a variable of the command's environment; NAME alone takes its value from here.",
            valueName: "name=value")
    )
    var env: [String] = []

    @Option(
        name: [.long, .customShort("w")],
        help: ArgumentHelp("Directory in which the command starts.", valueName: "directory"))
    var workdir: String?

    @Option(
        name: [.long, .customShort("u")],
        help: ArgumentHelp("Who the command is inside; root without this.", valueName: "uid[:gid]"))
    var user: String?

    @Flag(name: [.customShort("i"), .long], help: "Pass standard input to the command.")
    var interactive = false

    @Flag(
        name: [.customShort("t"), .long], help: "Give the command a terminal of its own. ^P ^Q leaves it running.")
    var tty = false

    func variables() throws -> [String: String] {
        var variables: [String: String] = [:]
        for entry in env {
            let parts = entry.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
            guard let name = parts.first, !name.isEmpty else { throw ValidationError("--env: expected NAME=VALUE") }
            // A variable that is not set here is not set there.
            if let value = parts.count == 2 ? parts[1] : Environment[name] { variables[name] = value }
        }
        if tty, variables["TERM"] == nil, let terminal = Environment["TERM"] { variables["TERM"] = terminal }
        return variables
    }

    func commandUser() throws -> CommandUser? {
        try user.map { text in
            guard let user = CommandUser(text) else {
                throw ValidationError("--user: expected numbers of 0 to 65534, such as 1000 or 1000:100")
            }
            return user
        }
    }

    /// The caller's, where it has one.
    func terminalSize() -> TerminalSize? {
        tty ? CallerTerminal.size() ?? TerminalSize(rows: 24, columns: 80) : nil
    }
}

/// A command line's own words: everything behind the options, or behind `--`.
enum CommandWords {
    /// Throws where the first word is an option that nobody knows.
    static func check(_ words: [String], of command: (some ParsableCommand).Type) throws {
        // Everything from the first unknown word on is captured, a misspelt option too.
        if words.first == "--help" || words.first == "-h" { throw CleanExit.helpRequest(command) }
        if let first = words.first, first.hasPrefix("-"), first != "--" {
            throw ValidationError("Unknown option '\(first)'. A command that begins with - goes behind --.")
        }
    }

    static func of(_ words: [String]) -> [String] { words.first == "--" ? Array(words.dropFirst()) : words }
}
