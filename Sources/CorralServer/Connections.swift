internal import CorralAPI
internal import CorralPolicy
internal import NIOCore
internal import Synchronization

/// The open connections of all listeners, by client.
final class Connections: Sendable {
    /// Where a connection comes from.
    enum Origin: Sendable, Equatable {
        /// Over a unix socket, with the right that this socket gives.
        case local(PeerCredentials?, AccessRight)
        /// An IP address.
        case remote(String)

        /// One client, for limits.
        fileprivate var client: Client {
            switch self {
            case .local(let peer, _): .user(peer?.uid)
            case .remote(let address): .address(Self.prefix(address))
            }
        }

        /// Who has an IPv6 address usually has the other 2^64 of its network, too.
        private static func prefix(_ address: String) -> String {
            guard let parsed = IPAddress(address), parsed.ipv4 == nil else { return address }
            return String(parsed.high, radix: 16) + "::/64"
        }
    }

    fileprivate enum Client: Hashable {
        case user(UInt32?)
        case address(String)
    }

    enum Admission: Equatable {
        case admitted
        case tooManyOfClient
        case tooMany
    }

    struct Connection: Sendable {
        var origin: Origin
        fileprivate var channel: any Channel
        /// The API key of its last request.
        fileprivate var key: String?
        fileprivate var holdsStream = false
    }

    private struct Count {
        var connections = 0
        var streams = 0
    }

    private struct State {
        var connections: [ObjectIdentifier: Connection] = [:]
        var counts: [Client: Count] = [:]
    }

    let limits: ConnectionLimits
    private let state = Mutex(State())

    init(_ limits: ConnectionLimits) {
        self.limits = limits
    }

    subscript(channel: any Channel) -> Connection? {
        state.withLock { $0.connections[ObjectIdentifier(channel)] }
    }

    /// Until `channel` closes. One that is not admitted does not count.
    func enter(_ channel: any Channel, from origin: Origin) -> Admission {
        let id = ObjectIdentifier(channel)
        let admission = state.withLock { state -> Admission in
            guard state.connections.count < limits.connections else { return .tooMany }
            guard state.counts[origin.client, default: Count()].connections < limits.connectionsPerClient else {
                return .tooManyOfClient
            }
            state.counts[origin.client, default: Count()].connections += 1
            state.connections[id] = Connection(origin: origin, channel: channel)
            return .admitted
        }
        if admission == .admitted {
            channel.closeFuture.whenComplete { [weak self] _ in self?.leave(id) }
        }
        return admission
    }

    private func leave(_ id: ObjectIdentifier) {
        state.withLock { state in
            guard let connection = state.connections.removeValue(forKey: id) else { return }
            let client = connection.origin.client
            guard var count = state.counts[client] else { return }
            count.connections -= 1
            if connection.holdsStream { count.streams -= 1 }
            state.counts[client] = count.connections == 0 ? nil : count
        }
    }

    /// Notes whose key the running request bears.
    func use(key: String, on channel: any Channel) {
        state.withLock { $0.connections[ObjectIdentifier(channel)]?.key = key }
    }

    /// Closes what a key has opened.
    func close(key: String) {
        let channels = state.withLock { $0.connections.values.filter { $0.key == key }.map(\.channel) }
        for channel in channels { channel.close(promise: nil) }
    }

    /// False: the client has as many as it may. A connection holds one at most, until `closeStream` or its end.
    func openStream(on channel: any Channel) -> Bool {
        state.withLock { state in
            guard var connection = state.connections[ObjectIdentifier(channel)] else { return false }
            if connection.holdsStream { return true }
            let client = connection.origin.client
            guard state.counts[client, default: Count()].streams < limits.streamsPerClient else { return false }
            state.counts[client, default: Count()].streams += 1
            connection.holdsStream = true
            state.connections[ObjectIdentifier(channel)] = connection
            return true
        }
    }

    func closeStream(on channel: any Channel) {
        state.withLock { state in
            guard var connection = state.connections[ObjectIdentifier(channel)], connection.holdsStream else { return }
            connection.holdsStream = false
            state.connections[ObjectIdentifier(channel)] = connection
            state.counts[connection.origin.client]?.streams -= 1
        }
    }
}
