internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import Glibc

/// Where corrald listens.
struct ConnectionOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "corrald's socket, or tcp://127.0.0.1:PORT or https://NAME:PORT with an API key; else the environment's CORRAL_HOST, else \(Client.defaultHost).",
            valueName: "host"
        )
    )
    var host: String?

    @Option(
        name: .long,
        help: ArgumentHelp(
            "File that holds the API key; else the environment's CORRAL_API_KEY_FILE; else the key is in CORRAL_API_KEY.",
            valueName: "file"))
    var apiKeyFile: String?

    var choice: ConnectionChoice { ConnectionChoice(host: host, apiKeyFile: apiKeyFile) }

    func client() throws -> Client { try choice.client() }
}

/// Which corrald, as far as the command line says.
struct ConnectionChoice: Equatable {
    var host: String?
    var apiKeyFile: String?

    /// Does not connect yet.
    func client() throws -> Client {
        let host = host ?? Environment["CORRAL_HOST"] ?? Client.defaultHost
        if host.hasPrefix("unix://") { return try Client(host: host) }
        var key = Environment["CORRAL_API_KEY"]
        if let file = apiKeyFile ?? Environment["CORRAL_API_KEY_FILE"] {
            key = String(try TextFile.read(file).drop(while: \.isWhitespace).prefix { !$0.isWhitespace })
        }
        return try Client(host: host, apiKey: key, tls: TLSProgram(roots: Environment["CORRAL_CA_FILE"]))
    }
}

/// A subcommand whose failures are told in one way.
protocol ClientCommand: ParsableCommand {
    /// Exit code when Corral itself failed.
    static var failureCode: Int32 { get }

    func execute() throws
}

extension ClientCommand {
    static var failureCode: Int32 { 1 }

    static var _errorLabel: String { "corral" }

    func run() throws { try Self.telling { try execute() } }

    /// Does `body`, and says what went wrong.
    static func telling(_ body: () throws -> Void) throws {
        do {
            try body()
        } catch let error as ClientError {
            Complaint.print(error.description)
            throw ExitCode(failureCode)
        } catch let error as Failure {
            Complaint.print(error.message)
            throw ExitCode(error.code ?? failureCode)
        } catch let error as EventFilterError {
            throw ValidationError(error.description)
        }
    }
}

/// Something that goes wrong on this side.
struct Failure: Error {
    /// Lines for a person, already neutralised.
    var message: String
    /// Nil: the command's own `failureCode`.
    var code: Int32?

    init(_ message: String, code: Int32? = nil) {
        self.message = message
        self.code = code
    }

    /// A system call that failed on a file of the user's.
    init(file: String, errno: Int32) {
        let reason = strerror(errno).map { String(cString: $0) } ?? "errno \(errno)"
        self.init("\(TerminalText.neutralised(file)): \(reason)")
    }
}

/// Errors, each line marked as Corral's.
enum Complaint {
    static func print(_ text: String) {
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map { "corral: \($0)\n" }
        var rest = Array(lines.joined().utf8)[...]
        while !rest.isEmpty {
            let count = rest.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress, $0.count) }
            // There is nowhere left to complain to.
            guard count > 0 || errno == EINTR else { return }
            rest = rest.dropFirst(max(0, count))
        }
    }
}

enum Environment {
    /// Nil when it is not set or empty.
    static subscript(name: String) -> String? {
        guard let value = getenv(name), value.pointee != 0 else { return nil }
        return String(cString: value)
    }
}
