internal import Glibc
internal import NIOCore

/// Who is on the other end of a unix socket, as the kernel noted when it connected (unix(7), SO_PEERCRED).
struct PeerCredentials: Sendable, Equatable {
    /// Layout of `struct ucred`, which glibc shows to GNU sources only.
    var pid: Int32 = 0
    var uid: UInt32 = 0
    var gid: UInt32 = 0

    /// Nil when `channel` is no unix socket.
    static func future(of channel: any Channel) -> EventLoopFuture<PeerCredentials?> {
        guard let provider = channel as? any SocketOptionProvider else {
            return channel.eventLoop.makeSucceededFuture(nil)
        }
        let credentials: EventLoopFuture<PeerCredentials> = provider.unsafeGetSocketOption(
            level: NIOBSDSocket.OptionLevel(rawValue: SOL_SOCKET), name: NIOBSDSocket.Option(rawValue: SO_PEERCRED))
        return credentials.map { $0 }.flatMapErrorWithEventLoop { _, loop in loop.makeSucceededFuture(nil) }
    }
}
