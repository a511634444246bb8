import CorralAPI
import Testing

@Suite struct PublishedPortTests {
    @Test(
        arguments: [
            ("80", nil, nil, 80), ("8080:80", nil, 8080, 80), ("8080:80/tcp", nil, 8080, 80),
            ("127.0.0.1:8080:80", "127.0.0.1", 8080, 80), ("127.0.0.1::80", "127.0.0.1", 0, 80),
            ("[::1]:8080:80", "::1", 8080, 80),
        ] as [(String, String?, Int?, Int)])
    func readsWhatDockerReads(text: String, address: String?, hostPort: Int?, sandboxPort: Int) {
        let port = PublishedPort(text)
        #expect(port?.hostAddress == address)
        #expect(port?.hostPort == hostPort)
        #expect(port?.sandboxPort == sandboxPort)
    }

    @Test(arguments: [("53/udp", .udp), ("53/tcp", .tcp), ("53", nil)] as [(String, PublishedPort.Transport?)])
    func namesATransport(text: String, transport: PublishedPort.Transport?) {
        #expect(PublishedPort(text) == PublishedPort(sandboxPort: 53, protocol: transport))
    }

    @Test(arguments: [
        "", "0", "x", "8080:", "8080:0", "-1:80", "+1:80", "8080:80/sctp", "8080:80/", "80/udp/udp", "65536:80",
        "8080:65536", "[::1]:80",
        "[::1]80", "[::1", "::1:8080:80", "1:2:3:4", "80:80:",
    ])
    func refusesTheRest(text: String) {
        #expect(PublishedPort(text) == nil)
    }
}
