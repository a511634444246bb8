internal import CorralTLS
internal import Glibc

/// TLS for `corral`, which starts this program for `https://` hosts and no others: linked into the client, it would cost each
/// `corral run` a tenth of its time (docs/decisions/0008).
///
/// `corral-tls NAME [ROOTS]`: stdin is a socket to the client, stdout one to the server.
@main
struct CorralTLSProgram {
    static func main() {
        let arguments = CommandLine.arguments
        guard (2...3).contains(arguments.count) else {
            let usage = Array("corral-tls: started by corral, for https:// hosts\n".utf8)
            _ = write(STDERR_FILENO, usage, usage.count)
            exit(2)
        }
        TLSRelay.run(
            client: STDIN_FILENO, server: STDOUT_FILENO, name: arguments[1],
            roots: arguments.count == 3 ? arguments[2] : nil)
    }
}
