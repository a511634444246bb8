internal import CorralPolicy
internal import NIOCore
internal import NIOPosix

/// Passes datagrams between a UDP port of the host and one of a sandbox.
///
/// Each peer outside has a socket of its own into the sandbox, so that answers find back. A peer is forgotten after a minute in
/// which neither side sent, and the one quiet longest when there are more than `DatagramRelay.mostPeers`. What a side does not
/// take in time is dropped, as UDP does.
final class DatagramForwarder: PortForwarder {
    let hostPort: UInt16
    private let relay: DatagramRelay

    /// Binds `address`, or every address of the host when nil; port 0 takes a free one. `forgotten` hears of each socket into the
    /// sandbox that closed: its address and port.
    static func start(
        address: IPAddress?, hostPort: UInt16, to sandbox: IPAddress, port: UInt16,
        forgotten: @escaping @Sendable (IPAddress, UInt16) -> Void
    ) async throws -> DatagramForwarder {
        let target = try SocketAddress(ipAddress: sandbox.description, port: Int(port))
        // A port that is free in one family may be taken in the other.
        var attempts = hostPort == 0 ? 8 : 1
        while true {
            let relay = DatagramRelay(
                loop: MultiThreadedEventLoopGroup.singleton.next(), target: target, forgotten: forgotten)
            do {
                return DatagramForwarder(relay: relay, hostPort: try await bind(relay, address, hostPort))
            } catch {
                await relay.stop()
                attempts -= 1
                guard attempts > 0, (error as? IOError)?.errnoCode == EADDRINUSE else { throw error }
            }
        }
    }

    /// Returns the port.
    private static func bind(
        _ relay: DatagramRelay, _ address: IPAddress?, _ hostPort: UInt16
    ) async throws -> UInt16 {
        if let address {
            return try await relay.listen(on: SocketAddress(ipAddress: address.description, port: Int(hostPort)))
        }
        let port: UInt16
        do {
            port = try await relay.listen(on: SocketAddress(ipAddress: "::", port: Int(hostPort)))
        } catch let error as IOError where error.errnoCode == EAFNOSUPPORT || error.errnoCode == EADDRNOTAVAIL {
            // A host without IPv6.
            return try await relay.listen(on: SocketAddress(ipAddress: "0.0.0.0", port: Int(hostPort)))
        }
        return try await relay.listen(on: SocketAddress(ipAddress: "0.0.0.0", port: Int(port)))
    }

    private init(relay: DatagramRelay, hostPort: UInt16) {
        self.relay = relay
        self.hostPort = hostPort
    }

    func stop() async {
        await relay.stop()
    }
}

/// The sockets of one published UDP port.
///
/// Safety: all of it lives on one event loop, the only thread that touches what changes.
private final class DatagramRelay: @unchecked Sendable {
    static let mostPeers = 256
    private static let quietTime = TimeAmount.seconds(60)
    /// Datagrams of a peer that wait for its socket.
    private static let mostWaiting = 16
    /// Addresses of the host that have a socket of their own.
    private static let mostAddresses = 256

    private struct Peer: Hashable {
        let address: SocketAddress
        /// Where on the host it sent to.
        let host: SocketAddress
    }

    private final class Session {
        var inner: (any Channel)?
        var waiting: [ByteBuffer] = []
        var seen = NIODeadline.now()
    }

    private let loop: any EventLoop
    private let target: SocketAddress
    private let forgotten: @Sendable (IPAddress, UInt16) -> Void
    private var listeners: [any Channel] = []
    /// By an address of the host: the socket that answers from it.
    private var answering: [SocketAddress: EventLoopFuture<any Channel>] = [:]
    private var sessions: [Peer: Session] = [:]
    private var sweep: RepeatedTask?
    private var isStopped = false

    init(
        loop: any EventLoop, target: SocketAddress, forgotten: @escaping @Sendable (IPAddress, UInt16) -> Void
    ) {
        self.loop = loop
        self.target = target
        self.forgotten = forgotten
    }

    /// Returns the port. An address of all zeros stands for all of its family.
    func listen(on address: SocketAddress) async throws -> UInt16 {
        let isWildcard = ["::", "0.0.0.0"].contains(address.ipAddress)
        let channel = try await bootstrap(isWildcard: isWildcard, isIPv6: address.protocol == .inet6)
            .bind(to: address).get()
        try await loop.submit { self.listeners.append(channel) }.get()
        // Only now, so that a port of somebody else's was refused: sockets for single addresses join this one.
        if isWildcard { try await channel.setOption(.socketOption(.so_reuseaddr), value: 1).get() }
        try await loop.submit {
            guard self.sweep == nil else { return }
            self.sweep = self.loop.scheduleRepeatedTask(initialDelay: .seconds(15), delay: .seconds(15)) { _ in
                self.forgetQuiet()
            }
        }.get()
        return UInt16(channel.localAddress?.port ?? 0)
    }

    func stop() async {
        let closed = loop.flatSubmit {
            self.isStopped = true
            self.sweep?.cancel()
            let listeners = self.listeners
            self.listeners = []
            self.answering = [:]
            for session in self.sessions.values { session.inner?.close(promise: nil) }
            self.sessions = [:]
            return EventLoopFuture.andAllComplete(listeners.map { $0.close() }, on: self.loop)
        }
        try? await closed.get()
    }

    private func bootstrap(isWildcard: Bool, isIPv6: Bool, joins: Bool = false) -> DatagramBootstrap {
        var bootstrap = DatagramBootstrap(group: loop)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 1 << 16))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        DatagramReader { envelope in
                            self.arrived(envelope, on: channel)
                        })
                }
            }
        if isWildcard { bootstrap = bootstrap.channelOption(.receivePacketInfo, value: true) }
        if joins { bootstrap = bootstrap.channelOption(.socketOption(.so_reuseaddr), value: 1) }
        if isIPv6 {
            bootstrap = bootstrap.channelOption(
                ChannelOptions.Types.SocketOption(level: .ipv6, name: .ipv6_v6only), value: 1)
        }
        return bootstrap
    }

    private func arrived(_ envelope: AddressedEnvelope<ByteBuffer>, on listener: any Channel) {
        guard !isStopped, let bound = listener.localAddress else { return }
        var host = envelope.metadata?.packetInfo?.destinationAddress ?? bound
        host.port = bound.port
        let peer = Peer(address: envelope.remoteAddress, host: host)
        let session = sessions[peer] ?? open(peer, on: listener)
        session.seen = .now()
        guard let inner = session.inner else {
            if session.waiting.count < Self.mostWaiting { session.waiting.append(envelope.data) }
            return
        }
        if inner.isWritable { inner.writeAndFlush(envelope.data, promise: nil) }
    }

    private func open(_ peer: Peer, on listener: any Channel) -> Session {
        if sessions.count >= Self.mostPeers, let oldest = sessions.min(by: { $0.value.seen < $1.value.seen })?.key {
            forget(oldest)
        }
        let session = Session()
        sessions[peer] = session
        let answers = socket(for: peer.host, of: listener)
        DatagramBootstrap(group: loop)
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 1 << 16))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        DatagramReader { envelope in
                            self.answered(envelope.data, to: peer, by: answers)
                        })
                }
            }
            .connect(to: target)
            .assumeIsolated()
            .whenComplete { result in self.connected(result, peer, session) }
        return session
    }

    private func connected(_ result: Result<any Channel, any Error>, _ peer: Peer, _ session: Session) {
        guard case .success(let inner) = result else {
            if sessions[peer] === session { sessions[peer] = nil }
            return
        }
        let forgotten = forgotten
        if let local = inner.localAddress, let address = local.ipAddress.flatMap({ IPAddress($0) }),
            let port = local.port.flatMap({ UInt16(exactly: $0) })
        {
            inner.closeFuture.whenComplete { _ in forgotten(address, port) }
        }
        guard sessions[peer] === session else { return inner.close(promise: nil) }
        inner.closeFuture.assumeIsolated().whenComplete { _ in
            if self.sessions[peer] === session { self.sessions[peer] = nil }
        }
        session.inner = inner
        for datagram in session.waiting { inner.write(datagram, promise: nil) }
        session.waiting = []
        inner.flush()
    }

    private func answered(_ data: ByteBuffer, to peer: Peer, by answers: EventLoopFuture<any Channel>) {
        sessions[peer]?.seen = .now()
        answers.assumeIsolated().whenSuccess { listener in
            guard listener.isWritable else { return }
            listener.writeAndFlush(AddressedEnvelope(remoteAddress: peer.address, data: data), promise: nil)
        }
    }

    /// The socket that answers from `host`, which is the one address that a peer takes answers from. A socket that is bound to
    /// all addresses would answer from the one that the route suggests.
    private func socket(for host: SocketAddress, of listener: any Channel) -> EventLoopFuture<any Channel> {
        if let known = answering[host] { return known }
        guard host != listener.localAddress, answering.count < Self.mostAddresses else {
            return loop.makeSucceededFuture(listener)
        }
        let bound = bootstrap(isWildcard: false, isIPv6: host.protocol == .inet6, joins: true).bind(to: host)
        bound.assumeIsolated().whenSuccess { channel in
            guard !self.isStopped else { return channel.close(promise: nil) }
            self.listeners.append(channel)
        }
        // A group's address, or one that is gone again.
        let socket = bound.flatMapError { _ in listener.eventLoop.makeSucceededFuture(listener) }
        answering[host] = socket
        return socket
    }

    private func forgetQuiet() {
        let now = NIODeadline.now()
        for (peer, session) in sessions where now - session.seen > Self.quietTime { forget(peer) }
    }

    private func forget(_ peer: Peer) {
        sessions.removeValue(forKey: peer)?.inner?.close(promise: nil)
    }
}

/// Hands on what is read. That nobody listens in the sandbox (ECONNREFUSED) is no matter of the peer's.
private final class DatagramReader: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>

    private let take: (AddressedEnvelope<ByteBuffer>) -> Void

    init(_ take: @escaping (AddressedEnvelope<ByteBuffer>) -> Void) {
        self.take = take
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        take(unwrapInboundIn(data))
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}
