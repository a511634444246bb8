internal import NIOCore
internal import NIOEmbedded
internal import NIOSSL
internal import NIOTLS

/// Why a connection is not trusted, or has stopped making sense.
public struct TLSFailure: Error, Sendable, Equatable {
    public var what: String

    init(_ what: String) {
        self.what = what
    }
}

/// The client's side of TLS 1.2 or 1.3, without a socket and without an event loop: bytes in, bytes out. Use one from one
/// thread at a time.
public final class TLSClientStream {
    private let channel: EmbeddedChannel
    private let handshake = Handshake()

    /// `name` must stand in the server's certificate, an address too. `roots`: a PEM file with the certificates to trust; nil:
    /// those of the system.
    public init(name: String, roots: String?) throws(TLSFailure) {
        do {
            var configuration = TLSConfiguration.makeClientConfiguration()
            configuration.minimumTLSVersion = .tlsv12
            configuration.applicationProtocols = ["http/1.1"]
            if let roots { configuration.trustRoots = .file(roots) }
            let address = try? SocketAddress(ipAddress: name, port: 0)
            let handler = try NIOSSLClientHandler(
                context: NIOSSLContext(configuration: configuration), serverHostname: address == nil ? name : nil)
            channel = EmbeddedChannel(handlers: [handler, handshake])
            // An address is compared with that of the peer.
            try channel.connect(to: address ?? SocketAddress(unixDomainSocketPath: "/")).wait()
        } catch {
            throw TLSFailure("\(error)")
        }
        try check()
    }

    /// The server is who it should be. Nothing of what is sent leaves before.
    public var isEstablished: Bool { handshake.isComplete }

    /// Bytes from the socket.
    public func receive(_ bytes: ArraySlice<UInt8>) throws(TLSFailure) {
        channel.pipeline.fireChannelRead(ByteBuffer(bytes: bytes))
        channel.pipeline.fireChannelReadComplete()
        try check()
    }

    /// Bytes for the server.
    public func send(_ bytes: ArraySlice<UInt8>) throws(TLSFailure) {
        guard !bytes.isEmpty else { return }
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        try check()
    }

    /// What was received and is deciphered; taken out.
    public func takePlain() -> [UInt8] {
        var plain: [UInt8] = []
        while let piece = try? channel.readInbound(as: ByteBuffer.self) { plain += piece.readableBytesView }
        return plain
    }

    /// What is to be written to the socket; taken out.
    public func takeCipher() -> [UInt8] {
        var cipher: [UInt8] = []
        while let piece = try? channel.readOutbound(as: ByteBuffer.self) { cipher += piece.readableBytesView }
        return cipher
    }

    /// The server has said that nothing more comes.
    public var isEnded: Bool { !channel.isActive }

    private func check() throws(TLSFailure) {
        channel.embeddedEventLoop.run()
        do {
            try channel.throwIfErrorCaught()
        } catch {
            throw TLSFailure("\(error)")
        }
    }
}

private final class Handshake: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private(set) var isComplete = false

    func userInboundEventTriggered(context: ChannelHandlerContext, event: Any) {
        if case .handshakeCompleted? = event as? TLSUserEvent { isComplete = true }
        context.fireUserInboundEventTriggered(event)
    }
}
