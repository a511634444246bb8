import Glibc
import NIOCore
import NIOPosix
import Testing

@testable import CorralServer

@Suite struct PeerCredentialsTests {
    @Test func theKernelNamesThePeerOfAUnixSocket() async throws {
        try await TestServer.run { server in
            let channel = try await ClientBootstrap(group: .singletonMultiThreadedEventLoopGroup)
                .connect(unixDomainSocketPath: server.socketPath).get()
            let peer = try #require(try await PeerCredentials.future(of: channel).get())
            #expect(peer.pid == getpid())
            #expect(peer.uid == geteuid())
            #expect(peer.gid == getegid())
            try await channel.close()
        }
    }
}
