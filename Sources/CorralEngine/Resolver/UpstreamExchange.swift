internal import NIOCore
internal import NIOPosix

/// One question and its answer over a socket of its own.
enum UpstreamExchange {
    enum Outcome: Sendable, Equatable {
        case answer(DNSMessage)
        /// UDP will not do: the answer was cut, or others tried to answer.
        case needsTCP
    }

    /// Answers to other questions that one socket takes before it gives up on UDP: somebody is guessing.
    private static let mostStrays = 16

    /// From a random port, to which the kernel passes nothing but what comes from `server`.
    static func udp(
        _ query: UpstreamQuery, to server: SocketAddress, within timeout: TimeAmount, on loop: any EventLoop
    ) async throws(UpstreamError) -> Outcome {
        let promise = loop.makePromise(of: Outcome.self)
        DatagramBootstrap(group: loop)
            // A message of more octets than were offered is cut and then garbled.
            .channelOption(.recvAllocator, value: FixedSizeRecvByteBufferAllocator(capacity: 4096))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(
                        DatagramExchange(query, server: server, promise: promise, mostStrays: mostStrays))
                }
            }
            .connect(to: server)
            .whenComplete { settle($0, promise, within: timeout) }
        return try await result(of: promise)
    }

    static func tcp(
        _ query: UpstreamQuery, to server: SocketAddress, within timeout: TimeAmount, on loop: any EventLoop
    ) async throws(UpstreamError) -> Outcome {
        let promise = loop.makePromise(of: Outcome.self)
        ClientBootstrap(group: loop)
            .connectTimeout(timeout)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(StreamExchange(query, promise: promise))
                }
            }
            .connect(to: server)
            .whenComplete { settle($0, promise, within: timeout) }
        return try await result(of: promise)
    }

    /// The channel lives until the promise is kept, and that is no longer than `timeout`.
    private static func settle(
        _ connected: Result<any Channel, any Error>, _ promise: EventLoopPromise<Outcome>, within timeout: TimeAmount
    ) {
        switch connected {
        case .failure(let error):
            promise.fail(UpstreamError.unreachable("\(error)"))
        case .success(let channel):
            let timer = channel.eventLoop.scheduleTask(in: timeout) {
                // The handler knows best what it has seen.
                channel.pipeline.fireUserInboundEventTriggered(ExchangeTimeout())
            }
            promise.futureResult.whenComplete { _ in
                timer.cancel()
                channel.close(promise: nil)
            }
        }
    }

    private static func result(of promise: EventLoopPromise<Outcome>) async throws(UpstreamError) -> Outcome {
        do {
            return try await withTaskCancellationHandler {
                try await promise.futureResult.get()
            } onCancel: {
                promise.fail(UpstreamError.cancelled)
            }
        } catch {
            throw error as? UpstreamError ?? .unreachable("\(error)")
        }
    }
}

private struct ExchangeTimeout: Sendable {}

/// Sends one datagram and judges those that come back.
private final class DatagramExchange: ChannelInboundHandler {
    typealias InboundIn = AddressedEnvelope<ByteBuffer>
    typealias OutboundOut = AddressedEnvelope<ByteBuffer>

    private let query: UpstreamQuery
    private let server: SocketAddress
    private let promise: EventLoopPromise<UpstreamExchange.Outcome>
    private let mostStrays: Int
    private var strays = 0

    init(
        _ query: UpstreamQuery, server: SocketAddress, promise: EventLoopPromise<UpstreamExchange.Outcome>,
        mostStrays: Int
    ) {
        self.query = query
        self.server = server
        self.promise = promise
        self.mostStrays = mostStrays
    }

    func channelActive(context: ChannelHandlerContext) {
        let envelope = AddressedEnvelope(remoteAddress: server, data: ByteBuffer(bytes: query.bytes))
        context.writeAndFlush(wrapOutboundOut(envelope)).assumeIsolated().whenFailure { [promise] in
            promise.fail(UpstreamError.unreachable("\($0)"))
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        switch query.judge(Array(unwrapInboundIn(data).data.readableBytesView)) {
        case .answer(let message): promise.succeed(.answer(message))
        case .truncated, .garbled, .otherCase: promise.succeed(.needsTCP)
        case .stray:
            // The right one may still come.
            strays += 1
            if strays >= mostStrays { promise.succeed(.needsTCP) }
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is ExchangeTimeout else { return context.fireUserInboundEventTriggered(event) }
        if strays > 0 { promise.succeed(.needsTCP) } else { promise.fail(UpstreamError.timeout) }
    }

    /// ICMP errors come here, as ECONNREFUSED and the like.
    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        promise.fail(UpstreamError.unreachable("\(error)"))
    }

    func channelInactive(context: ChannelHandlerContext) {
        promise.fail(UpstreamError.unreachable("closed"))
    }
}

/// Sends one frame and waits for one.
private final class StreamExchange: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer
    typealias OutboundOut = ByteBuffer

    private let query: UpstreamQuery
    private let promise: EventLoopPromise<UpstreamExchange.Outcome>
    private var received = ByteBuffer()

    init(_ query: UpstreamQuery, promise: EventLoopPromise<UpstreamExchange.Outcome>) {
        self.query = query
        self.promise = promise
    }

    func channelActive(context: ChannelHandlerContext) {
        var frame = ByteBuffer()
        frame.writeInteger(UInt16(clamping: query.bytes.count))
        frame.writeBytes(query.bytes)
        context.writeAndFlush(wrapOutboundOut(frame)).assumeIsolated().whenFailure { [promise] in
            promise.fail(UpstreamError.unreachable("\($0)"))
        }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        var part = unwrapInboundIn(data)
        received.writeBuffer(&part)
        guard let length = received.getInteger(at: received.readerIndex, as: UInt16.self),
            let bytes = received.getBytes(at: received.readerIndex + 2, length: Int(length))
        else { return }
        // What is not the answer to the one question of this connection makes the server unusable. The case of letters does not
        // count: nobody can forge into a connection.
        switch query.judge(bytes) {
        case .answer(let message): promise.succeed(.answer(message))
        case .otherCase:
            if let message = try? DNSMessage(decoding: bytes) {
                promise.succeed(.answer(message))
            } else {
                promise.fail(UpstreamError.garbled)
            }
        case .truncated, .garbled, .stray: promise.fail(UpstreamError.garbled)
        }
    }

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        guard event is ExchangeTimeout else { return context.fireUserInboundEventTriggered(event) }
        promise.fail(UpstreamError.timeout)
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        promise.fail(UpstreamError.unreachable("\(error)"))
    }

    func channelInactive(context: ChannelHandlerContext) {
        promise.fail(UpstreamError.unreachable("closed"))
    }
}
