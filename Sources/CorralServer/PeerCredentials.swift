internal import Glibc
internal import NIOCore

/// Who is on the other end of a unix socket, as the kernel noted when it connected (unix(7), SO_PEERCRED).
struct PeerCredentials: Sendable {
    /// Layout of `struct ucred`, which glibc shows to GNU sources only.
    var pid: Int32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0

    /// Nil when `channel` is no unix socket.
    static func of(_ channel: any Channel) async -> PeerCredentials? {
        guard let provider = channel as? any SocketOptionProvider else { return nil }
        return try? await provider.unsafeGetSocketOption(
            level: NIOBSDSocket.OptionLevel(rawValue: SOL_SOCKET), name: NIOBSDSocket.Option(rawValue: SO_PEERCRED)
        ).get()
    }
}
