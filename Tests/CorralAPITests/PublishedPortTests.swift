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
        #expect(
            PublishedPort(text) == PublishedPort(hostAddress: address, hostPort: hostPort, sandboxPort: sandboxPort))
    }

    @Test(arguments: [
        "", "0", "x", "8080:", "8080:0", "-1:80", "+1:80", "8080:80/udp", "65536:80", "8080:65536", "[::1]:80",
        "[::1]80", "[::1", "::1:8080:80", "1:2:3:4", "80:80:",
    ])
    func refusesTheRest(text: String) {
        #expect(PublishedPort(text) == nil)
    }
}
