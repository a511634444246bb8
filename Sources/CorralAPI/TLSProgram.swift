internal import Glibc

/// The program that speaks TLS for a client, as a process of its own: `corral-tls`.
public struct TLSProgram: Sendable, Equatable {
    public var path: String
    /// A PEM file with the certificates to trust; nil: those of the system.
    public var roots: String?

    /// `path` nil: beside this program, or in `../libexec/corral` of its directory.
    public init(path: String? = nil, roots: String? = nil) {
        self.path = path ?? Self.found()
        self.roots = roots
    }

    private static func found() -> String {
        var bytes = [CChar](repeating: 0, count: Int(PATH_MAX))
        let count = readlink("/proc/self/exe", &bytes, bytes.count)
        let program = String(decoding: bytes.prefix(max(0, count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
        let directory = program.split(separator: "/").dropLast().reduce(into: "") { $0 += "/" + $1 }
        let beside = directory + "/corral-tls"
        return access(beside, X_OK) == 0 ? beside : directory + "/../libexec/corral/corral-tls"
    }

    /// A running one.
    struct Relay {
        /// Plain bytes; the caller's to close, after which the process ends.
        var socket: Int32
        var process: pid_t
    }

    /// Takes `server`, a connected socket, and returns once the server called `name` is known to be that. Throws
    /// `ClientError.tls`.
    func begin(_ server: Int32, name: String) throws(ClientError) -> Relay {
        defer { close(server) }
        var pair: [Int32] = [-1, -1]
        let type = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        guard socketpair(AF_UNIX, type, 0, &pair) == 0 else {
            throw .system(call: "socketpair", subject: "AF_UNIX", errno: errno)
        }
        defer { close(pair[1]) }
        let relay: Relay
        do throws(ClientError) {
            relay = Relay(socket: pair[0], process: try start(client: pair[1], server: server, name: name))
        } catch {
            close(pair[0])
            throw error
        }
        // Else this process would hold open what the other one is to close.
        close(pair[1])
        pair[1] = -1
        let line = Self.line(pair[0])
        guard line == "ok" else {
            Self.end(relay)
            throw .tls(line.isEmpty ? "\(path) ended" : line)
        }
        return relay
    }

    static func end(_ relay: Relay) {
        close(relay.socket)
        while waitpid(relay.process, nil, 0) < 0, errno == EINTR {}
    }

    private func start(client: Int32, server: Int32, name: String) throws(ClientError) -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_adddup2(&actions, client, STDIN_FILENO)
        posix_spawn_file_actions_adddup2(&actions, server, STDOUT_FILENO)
        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        // A ^C at the terminal is for the command, which this program has to tell.
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETPGROUP))
        var arguments = ([path, name] + (roots.map { [$0] } ?? [])).map { (text: String) in strdup(text) } + [nil]
        defer { for argument in arguments { free(argument) } }
        // Nothing of the environment, such as the API key, is for it.
        var environment: [UnsafeMutablePointer<CChar>?] = [nil]
        var process: pid_t = 0
        let number = posix_spawn(&process, path, &actions, &attributes, &arguments, &environment)
        guard number == 0 else { throw .tls("\(path), which speaks it, cannot be started: \(errorText(number))") }
        return process
    }

    /// The first line, without its end; what comes behind it is left.
    private static func line(_ socket: Int32) -> String {
        var bytes: [UInt8] = []
        var byte: UInt8 = 0
        while bytes.count < 1024, ClientSocket.retrying({ recv(socket, &byte, 1, 0) }) == .success(1) {
            if byte == UInt8(ascii: "\n") { break }
            bytes.append(byte)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
