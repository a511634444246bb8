public import CorralAPI
internal import NIOCore
internal import NIOEmbedded
internal import NIOSSL

/// The client's side of TLS 1.2 or 1.3, without a socket and without an event loop: bytes in, bytes out. Use one from one
/// thread at a time.
public final class TLSClientStream: TLSStream {
    private let channel: EmbeddedChannel

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
            channel = EmbeddedChannel(handler: handler)
            // An address is compared with that of the peer.
            try channel.connect(to: address ?? SocketAddress(unixDomainSocketPath: "/")).wait()
        } catch {
            throw TLSFailure("\(error)")
        }
        try check()
    }

    public func receive(_ bytes: ArraySlice<UInt8>) throws(TLSFailure) {
        channel.pipeline.fireChannelRead(ByteBuffer(bytes: bytes))
        channel.pipeline.fireChannelReadComplete()
        try check()
    }

    public func receiveEnd() throws(TLSFailure) {
        // HTTP says by itself whether an answer is whole; what is cut off between two answers is no loss.
    }

    public func send(_ bytes: ArraySlice<UInt8>) throws(TLSFailure) {
        guard !bytes.isEmpty else { return }
        channel.writeAndFlush(ByteBuffer(bytes: bytes), promise: nil)
        try check()
    }

    public func takePlain() -> [UInt8] {
        var plain: [UInt8] = []
        while let piece = try? channel.readInbound(as: ByteBuffer.self) { plain += piece.readableBytesView }
        return plain
    }

    public func takeCipher() -> [UInt8] {
        var cipher: [UInt8] = []
        while let piece = try? channel.readOutbound(as: ByteBuffer.self) { cipher += piece.readableBytesView }
        return cipher
    }

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
