internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents
internal import Glibc

/// Where corrald listens.
struct ConnectionOptions: ParsableArguments {
    @Option(
        name: .long,
        help: ArgumentHelp(
            "corrald's socket; else the environment's CORRAL_HOST, else \(Client.defaultHost).",
            valueName: "unix://path"
        )
    )
    var host: String?

    /// Does not connect yet.
    func client() throws(ClientError) -> Client {
        try Client(host: host ?? Environment["CORRAL_HOST"] ?? Client.defaultHost)
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

    func run() throws {
        do {
            try execute()
        } catch let error as ClientError {
            Complaint.print(error.description)
            throw ExitCode(Self.failureCode)
        } catch let error as Failure {
            Complaint.print(error.message)
            throw ExitCode(error.code ?? Self.failureCode)
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
