internal import CorralAPI
internal import CorralEvents

/// Who made a request, and what it may do.
enum Caller: Sendable, Equatable {
    /// A process of this host. It could open the socket, which is what gives it the right.
    case process(PeerCredentials?, AccessRight)
    /// Whoever holds an API key, at an address.
    case key(id: String, scope: AccessRight, address: String)
    /// Somebody at an address who has shown no valid key.
    case stranger(address: String)

    /// Nil: none.
    var right: AccessRight? {
        switch self {
        case .process(_, let right), .key(_, let right, _): right
        case .stranger: nil
        }
    }

    /// Nil where the kernel did not tell.
    var requester: Requester? {
        switch self {
        case .process(let peer, _): peer.map { .process(uid: $0.uid, gid: $0.gid, pid: $0.pid) }
        case .key(let id, _, let address): .remote(address: address, key: id)
        case .stranger(let address): .remote(address: address, key: nil)
        }
    }
}
