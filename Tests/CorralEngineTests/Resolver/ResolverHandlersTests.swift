import CorralEvents
import CorralPolicy
import NIOCore
import NIOEmbedded
import Testing

@testable import CorralEngine

/// A connection whose clock stands still unless moved.
@Suite struct ResolverHandlersTests {
    private let authority = FakeAuthority()

    private func connection(_ limits: ResolverServer.Limits = ResolverServer.Limits()) throws -> EmbeddedChannel {
        let resolver = Resolver(
            configuration: ResolverConfiguration(), authority: authority, upstream: FakeUpstream())
        let channel = EmbeddedChannel(handler: ResolverStreamHandler(resolver, limits: limits))
        channel.remoteAddress = try SocketAddress(ipAddress: "10.213.0.1", port: 4000)
        channel.localAddress = try SocketAddress(ipAddress: "10.213.0.254", port: 53)
        try channel.connect(to: SocketAddress(ipAddress: "10.213.0.1", port: 4000)).wait()
        return channel
    }

    private func answers(_ channel: EmbeddedChannel) throws -> Int {
        var count = 0
        while var frame = try channel.readOutbound(as: ByteBuffer.self) {
            while frame.readFrame() != nil { count += 1 }
        }
        return count
    }

    @Test func anIdleConnectionIsClosed() throws {
        let channel = try connection()
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(9_999))
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .milliseconds(1))
        #expect(!channel.isActive)
    }

    @Test func queriesKeepAConnectionOpen() throws {
        let channel = try connection()
        for _ in 0..<5 {
            channel.embeddedEventLoop.advanceTime(by: .seconds(9))
            try channel.writeInbound(ByteBuffer(frame: query("evil.example")))
            #expect(try answers(channel) == 1)
        }
        #expect(channel.isActive)
        channel.embeddedEventLoop.advanceTime(by: .seconds(10))
        #expect(!channel.isActive)
    }

    @Test func anOctetNowAndThenDoesNot() throws {
        let channel = try connection()
        for octet in query("evil.example").prefix(3) {
            channel.embeddedEventLoop.advanceTime(by: .seconds(4))
            _ = try? channel.writeInbound(ByteBuffer(bytes: [octet]))
        }
        #expect(!channel.isActive)
    }

    @Test func aQueryInPiecesIsOne() throws {
        let channel = try connection()
        let frame = ByteBuffer(frame: query("evil.example"))
        for octet in frame.readableBytesView {
            #expect(try answers(channel) == 0)
            try channel.writeInbound(ByteBuffer(bytes: [octet]))
        }
        #expect(try answers(channel) == 1)
        #expect(authority.reports.map(\.query.transport) == [.tcp])
        #expect(authority.reports.map(\.query.server) == [.literal("10.213.0.254")])
        _ = try channel.finish()
    }
}
