internal import CorralEvents
internal import CorralPolicy
internal import NIOCore

/// One query a datagram, answered to where it came from.
final class ResolverDatagramHandler: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let resolver: Resolver
    private let sender: ResolverServer.DatagramSender?
    private let identifying: ResolverServer.Identification?
    private var listener: IPAddress?

    init(
        _ resolver: Resolver, sender: ResolverServer.DatagramSender? = nil,
        identifying: ResolverServer.Identification? = nil
    ) {
        self.resolver = resolver
        self.sender = sender
        self.identifying = identifying
    }

    func channelActive(context: ChannelHandlerContext) {
        listener = context.channel.localAddress?.ip
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let envelope = unwrapInboundIn(data)
        guard let address = envelope.remoteAddress.ip, let port = envelope.remoteAddress.port else { return }
        let peer = ResolverPeer(
            address: address, port: UInt16(truncatingIfNeeded: port), transport: .udp)
        let asked = envelope.metadata?.packetInfo?.destinationAddress.ip ?? listener
        let reply = reply(to: envelope.remoteAddress, peer, asked: asked, context.channel)
        let client: ResolverClient?
        if let identifying {
            client = identifying(peer)
            guard client != nil else { return }
        } else {
            client = nil
        }
        switch resolver.receive(Array(envelope.data.readableBytesView), from: peer, at: asked, as: client) {
        case .drop: break
        case .answer(let answer): reply(answer)
        case .forward(let forward):
            let resolver = resolver
            Task {
                if let answer = await resolver.resolve(forward) { reply(answer) }
            }
        }
    }

    /// How this query is answered: from the address that was asked.
    private func reply(
        to source: SocketAddress, _ peer: ResolverPeer, asked: IPAddress?, _ channel: any Channel
    ) -> @Sendable ([UInt8]) -> Void {
        guard let sender, let asked else { return { Self.send($0, to: source, channel) } }
        // What cannot be sent is dropped: the sandbox asks again.
        return { try? sender($0, DNSEndpoint(asked), DNSEndpoint(peer.address, port: peer.port)) }
    }

    /// An answer that the socket cannot take is dropped: the sandbox asks again.
    private static func send(_ answer: [UInt8], to source: SocketAddress, _ channel: any Channel) {
        guard channel.isWritable else { return }
        channel.writeAndFlush(
            AddressedEnvelope(remoteAddress: source, data: ByteBuffer(bytes: answer)), promise: nil)
    }

    /// Errors of one datagram (an ICMP message for an earlier answer) are no reason to stop.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {}
}

/// Queries behind their lengths (RFC 7766), several on a connection, answered as answers come.
final class ResolverStreamHandler: ChannelDuplexHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let resolver: Resolver
    private let limits: ResolverServer.Limits
    private let identifying: ResolverServer.Identification?
    private var client: ResolverClient?
    private var peer: ResolverPeer?
    private var listener: IPAddress?
    private var received = ByteBuffer()
    /// Queries whose answer is not there yet, and answers that are not written yet.
    private var waiting = 0
    private var writing = 0
    private var wantsRead = false
    private var closesWhenAnswered = false
    private var idle: Scheduled<Void>?

    init(
        _ resolver: Resolver, limits: ResolverServer.Limits, identifying: ResolverServer.Identification? = nil
    ) {
        self.resolver = resolver
        self.limits = limits
        self.identifying = identifying
    }

    func channelActive(context: ChannelHandlerContext) {
        listener = context.channel.localAddress?.ip
        if let remote = context.channel.remoteAddress, let address = remote.ip, let port = remote.port {
            let peer = ResolverPeer(address: address, port: UInt16(truncatingIfNeeded: port), transport: .tcp)
            client = identifying?(peer)
            // Without it the first query closes the connection.
            if identifying == nil || client != nil { self.peer = peer }
        }
        watch(context)
        context.fireChannelActive()
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var part = unwrapInboundIn(data)
        received.writeBuffer(&part)
        takeQueries(context)
    }

    /// Reads no more than it may work on.
    func read(context: ChannelHandlerContext) {
        if isBusy(context) { wantsRead = true } else { context.read() }
    }

    private func isBusy(_ context: ChannelHandlerContext) -> Bool {
        waiting >= limits.pipelined || !context.channel.isWritable
    }

    private func takeQueries(_ context: ChannelHandlerContext) {
        guard let peer else { return context.close(promise: nil) }
        while !isBusy(context),
            let length = received.getInteger(at: received.readerIndex, as: UInt16.self)
        {
            // Shorter than a header: not DNS, and no id to answer to.
            guard length >= UInt16(DNSReader.headerSize) else { return context.close(promise: nil) }
            guard let query = received.getBytes(at: received.readerIndex + 2, length: Int(length)) else { break }
            received.moveReaderIndex(forwardBy: 2 + Int(length))
            watch(context)
            switch resolver.receive(query, from: peer, at: listener, as: client) {
            // Over TCP a sandbox would wait for an answer that never comes.
            case .drop: return context.close(promise: nil)
            case .answer(let answer): send(answer, context)
            case .forward(let forward): wait(for: forward, context)
            }
        }
        received.discardReadBytes()
        closeIfDone(context)
    }

    private func wait(for forward: Resolver.Forward, _ context: ChannelHandlerContext) {
        waiting += 1
        let promise = context.eventLoop.makePromise(of: [UInt8]?.self)
        promise.completeWithTask { [resolver] in await resolver.resolve(forward) }
        promise.futureResult.assumeIsolated().whenSuccess { answer in
            self.waiting -= 1
            guard let answer else { return context.close(promise: nil) }
            self.send(answer, context)
            self.goOn(context)
        }
    }

    private func send(_ answer: [UInt8], _ context: ChannelHandlerContext) {
        var frame = ByteBuffer()
        frame.writeInteger(UInt16(clamping: answer.count))
        frame.writeBytes(answer)
        writing += 1
        context.writeAndFlush(wrapOutboundOut(frame)).assumeIsolated().whenSuccess {
            self.writing -= 1
            self.watch(context)
            self.closeIfDone(context)
        }
    }

    private func closeIfDone(_ context: ChannelHandlerContext) {
        guard closesWhenAnswered, waiting == 0, writing == 0, !holdsQuery else { return }
        context.close(promise: nil)
    }

    private var holdsQuery: Bool {
        guard let length = received.getInteger(at: received.readerIndex, as: UInt16.self) else { return false }
        return received.readableBytes >= 2 + Int(length)
    }

    func channelWritabilityChanged(context: ChannelHandlerContext) {
        goOn(context)
        context.fireChannelWritabilityChanged()
    }

    /// Works on what came while it could not.
    private func goOn(_ context: ChannelHandlerContext) {
        takeQueries(context)
        if wantsRead, !isBusy(context) {
            wantsRead = false
            context.read()
        }
    }

    /// Begins to wait for the next sign of life.
    private func watch(_ context: ChannelHandlerContext) {
        idle?.cancel()
        idle = context.eventLoop.assumeIsolated().scheduleTask(in: TimeAmount(limits.idle)) {
            context.close(promise: nil)
        }
    }

    /// A client may stop sending and still wait for answers.
    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard let event = event as? ChannelEvent, event == .inputClosed else {
            return context.fireUserInboundEventTriggered(event)
        }
        closesWhenAnswered = true
        closeIfDone(context)
    }

    func channelInactive(context: ChannelHandlerContext) {
        idle?.cancel()
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        context.close(promise: nil)
    }
}
