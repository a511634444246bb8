import CorralEvents
import CorralPolicy
import NIOCore
import NIOPosix
import Synchronization

@testable import CorralEngine

/// A name server on loopback that says what a test wants.
final class TestNameServer: Sendable {
    enum Reply: Sendable {
        case bytes([UInt8])
        /// From another socket than the one that was asked.
        case fromElsewhere([UInt8])
    }

    struct Asked: Sendable {
        var message: DNSMessage
        var transport: NameQuery.Transport
        /// Port that the question came from.
        var port: Int
    }

    typealias Answer = @Sendable (Asked) -> [Reply]

    let endpoint: DNSEndpoint
    private let channels: [any Channel]
    private let log: Log

    private final class Log: Sendable {
        let asked = Mutex<[Asked]>([])
    }

    var asked: [Asked] { log.asked.withLock { $0 } }

    static func start(_ host: String = "127.0.0.1", answer: @escaping Answer) async throws -> TestNameServer {
        let log = Log()
        let group = MultiThreadedEventLoopGroup.singleton
        let elsewhere = try await DatagramBootstrap(group: group).bind(host: host, port: 0).get()
        let respond: @Sendable ([UInt8], NameQuery.Transport, Int) -> [Reply] = { bytes, transport, port in
            guard let message = try? DNSMessage(decoding: bytes) else { return [] }
            let asked = Asked(message: message, transport: transport, port: port)
            log.asked.withLock { $0.append(asked) }
            return answer(asked)
        }
        let udp = try await DatagramBootstrap(group: group)
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Datagrams(respond, elsewhere))
                }
            }
            .bind(host: host, port: 0).get()
        let tcp = try await ServerBootstrap(group: group)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(Frames(respond))
                }
            }
            .bind(host: host, port: udp.localAddress?.port ?? 0).get()
        return TestNameServer(
            endpoint: DNSEndpoint(.literal(host), port: UInt16(udp.localAddress?.port ?? 0)),
            channels: [udp, tcp, elsewhere], log: log)
    }

    private init(endpoint: DNSEndpoint, channels: [any Channel], log: Log) {
        self.endpoint = endpoint
        self.channels = channels
        self.log = log
    }

    func stop() async {
        for channel in channels { try? await channel.close() }
    }

    private final class Datagrams: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        let respond: @Sendable ([UInt8], NameQuery.Transport, Int) -> [Reply]
        let elsewhere: any Channel

        init(_ respond: @escaping @Sendable ([UInt8], NameQuery.Transport, Int) -> [Reply], _ elsewhere: any Channel) {
            self.respond = respond
            self.elsewhere = elsewhere
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            let envelope = unwrapInboundIn(data)
            for reply in respond(Array(envelope.data.readableBytesView), .udp, envelope.remoteAddress.port ?? 0) {
                func wrap(_ bytes: [UInt8]) -> AddressedEnvelope<ByteBuffer> {
                    AddressedEnvelope(remoteAddress: envelope.remoteAddress, data: ByteBuffer(bytes: bytes))
                }
                switch reply {
                case .bytes(let bytes): context.channel.writeAndFlush(wrap(bytes), promise: nil)
                case .fromElsewhere(let bytes): elsewhere.writeAndFlush(wrap(bytes), promise: nil)
                }
            }
        }
    }

    private final class Frames: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let respond: @Sendable ([UInt8], NameQuery.Transport, Int) -> [Reply]
        var received = ByteBuffer()

        init(_ respond: @escaping @Sendable ([UInt8], NameQuery.Transport, Int) -> [Reply]) {
            self.respond = respond
        }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            received.writeImmutableBuffer(unwrapInboundIn(data))
            while let frame = received.readFrame() {
                for case .bytes(let bytes) in respond(frame, .tcp, context.remoteAddress?.port ?? 0) {
                    context.writeAndFlush(NIOAny(ByteBuffer(frame: bytes)), promise: nil)
                }
            }
        }
    }
}

extension ByteBuffer {
    /// `bytes` behind their length.
    init(frame bytes: [UInt8]) {
        self.init()
        writeInteger(UInt16(bytes.count))
        writeBytes(bytes)
    }

    mutating func readFrame() -> [UInt8]? {
        guard let length = getInteger(at: readerIndex, as: UInt16.self), readableBytes >= 2 + Int(length) else {
            return nil
        }
        moveReaderIndex(forwardBy: 2)
        return readBytes(length: Int(length))
    }
}

/// A program that asks: a UDP socket or a TCP connection, and what comes back on it.
final class TestClient: Sendable {
    private let channel: any Channel
    private let server: SocketAddress
    private let transport: NameQuery.Transport
    /// Whole messages; ends when the connection does.
    let messages: AsyncStream<[UInt8]>

    static func connect(_ transport: NameQuery.Transport, to endpoint: DNSEndpoint) async throws -> TestClient {
        let group = MultiThreadedEventLoopGroup.singleton
        let server = try SocketAddress(ipAddress: endpoint.address.description, port: Int(endpoint.port))
        let (messages, continuation) = AsyncStream.makeStream(of: [UInt8].self)
        let channel =
            switch transport {
            case .udp:
                try await DatagramBootstrap(group: group)
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try channel.pipeline.syncOperations.addHandler(DatagramCollector(continuation))
                        }
                    }
                    .bind(host: endpoint.address.description, port: 0).get()
            case .tcp:
                try await ClientBootstrap(group: group)
                    .channelOption(.allowRemoteHalfClosure, value: true)
                    .channelInitializer { channel in
                        channel.eventLoop.makeCompletedFuture {
                            try channel.pipeline.syncOperations.addHandler(FrameCollector(continuation))
                        }
                    }
                    .connect(to: server).get()
            }
        return TestClient(channel: channel, server: server, transport: transport, messages: messages)
    }

    private init(
        channel: any Channel, server: SocketAddress, transport: NameQuery.Transport, messages: AsyncStream<[UInt8]>
    ) {
        self.channel = channel
        self.server = server
        self.transport = transport
        self.messages = messages
    }

    func send(_ message: [UInt8]) async throws {
        switch transport {
        case .udp:
            try await channel.writeAndFlush(
                AddressedEnvelope(remoteAddress: server, data: ByteBuffer(bytes: message)))
        case .tcp: try await channel.writeAndFlush(ByteBuffer(frame: message))
        }
    }

    /// Over TCP, without a frame.
    func sendRaw(_ bytes: [UInt8]) async throws { try await channel.writeAndFlush(ByteBuffer(bytes: bytes)) }

    func endSending() async throws { try await channel.close(mode: .output) }

    /// The next message; nil when none comes in time, or the connection ends. Messages that come later are not seen any more.
    func next(within patience: Duration = .seconds(10)) async throws -> DNSMessage? {
        let bytes = try await withThrowingTaskGroup(of: [UInt8]?.self) { group in
            group.addTask { [messages] in
                for await message in messages { return message }
                return nil
            }
            group.addTask {
                try await Task.sleep(for: patience)
                return nil
            }
            defer { group.cancelAll() }
            return try await group.next() ?? nil
        }
        return try bytes.map { try DNSMessage(decoding: $0) }
    }

    func ask(_ message: [UInt8]) async throws -> DNSMessage? {
        try await send(message)
        return try await next()
    }

    /// Whether the other side has closed or does so in time.
    func isClosed() async -> Bool {
        for _ in 0..<1000 {
            if !channel.isActive { return true }
            try? await Task.sleep(for: .milliseconds(10))
        }
        return false
    }

    func close() async { try? await channel.close() }

    private final class DatagramCollector: ChannelInboundHandler {
        typealias InboundIn = AddressedEnvelope<ByteBuffer>
        let continuation: AsyncStream<[UInt8]>.Continuation

        init(_ continuation: AsyncStream<[UInt8]>.Continuation) { self.continuation = continuation }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            continuation.yield(Array(unwrapInboundIn(data).data.readableBytesView))
        }

        func channelInactive(context: ChannelHandlerContext) { continuation.finish() }
    }

    private final class FrameCollector: ChannelInboundHandler {
        typealias InboundIn = ByteBuffer
        let continuation: AsyncStream<[UInt8]>.Continuation
        var received = ByteBuffer()

        init(_ continuation: AsyncStream<[UInt8]>.Continuation) { self.continuation = continuation }

        func channelRead(context: ChannelHandlerContext, data: NIOAny) {
            received.writeImmutableBuffer(unwrapInboundIn(data))
            while let frame = received.readFrame() { continuation.yield(frame) }
        }

        func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
            if let event = event as? ChannelEvent, event == .inputClosed { context.close(promise: nil) }
        }

        func channelInactive(context: ChannelHandlerContext) { continuation.finish() }
        func errorCaught(context: ChannelHandlerContext, error: any Error) { context.close(promise: nil) }
    }
}
