import CorralPolicy
import Glibc
import NIOCore
import Testing

@testable import CorralEngine

@Suite struct UpstreamServersTests {
    @Test(arguments: [
        ("9.9.9.9", "9.9.9.9:53"), ("9.9.9.9:5353", "9.9.9.9:5353"), ("2620:fe::fe", "[2620:fe::fe]:53"),
        ("[2620:fe::fe]", "[2620:fe::fe]:53"), ("[2620:fe::fe]:5353", "[2620:fe::fe]:5353"), ("::1", "[::1]:53"),
        ("fe80::1%eth0", "[fe80::1%eth0]:53"), ("[fe80::1%lo]:99", "[fe80::1%lo]:99"),
    ])
    func anEndpointIsAnAddressWithAPortOrWithout(text: String, description: String) throws {
        let endpoint = try #require(DNSEndpoint(text))
        #expect(endpoint.description == description)
        #expect(DNSEndpoint(description) == endpoint)
    }

    @Test(arguments: [
        "", "dns.example", "9.9.9", "9.9.9.9:", "9.9.9.9:0", "9.9.9.9:65536", "9.9.9.9:+53", "[9.9.9.9]:53", "[::1",
        "[::1]53", "::1%", "9.9.9.9%eth0", "fe80::1%aninterfacename16", "9.9.9.9 ",
    ])
    func otherTextIsNone(text: String) {
        #expect(DNSEndpoint(text) == nil)
    }

    @Test func aSocketAddressIsMadeAndReadBack() throws {
        for text in ["203.0.113.7", "2001:db8::7", "::1"] {
            let address = try #require(DNSEndpoint("[\(text)]:99") ?? DNSEndpoint("\(text):99")).socketAddress
            #expect(address?.ip == IPAddress(text))
            #expect(address?.port == 99)
        }
        #expect(try SocketAddress(ipAddress: "::ffff:203.0.113.7", port: 1).ip == IPAddress("203.0.113.7"))
        let scoped = try #require(DNSEndpoint("fe80::1%lo")?.socketAddress)
        #expect(scoped.ip == IPAddress("fe80::1"))
        #expect(DNSEndpoint("fe80::1%nosuchlink")?.socketAddress == nil)
    }

    private func servers(_ text: String) -> [String] {
        ResolvConf.servers(in: Array(text.utf8)).map(\.description)
    }

    @Test func resolvConfNamesServersInOrder() {
        let text = """
            # nameserver 192.0.2.1
            ; nameserver 192.0.2.2
            search example.com
            nameserver 192.0.2.3
            nameserver\t2001:db8::1   # trailing words mean nothing
            nameserver 192.0.2.3
              nameserver 192.0.2.4
            nameserver fe80::1%eth0
            nameserver nonsense
            nameserver 192.0.2.300
            nameserver 192.0.2.7:5353
            nameserver
            options timeout:1 nameserver 192.0.2.8
            nameserver 192.0.2.9\r
            """
        #expect(
            servers(text) == ["192.0.2.3:53", "[2001:db8::1]:53", "192.0.2.4:53", "[fe80::1%eth0]:53", "192.0.2.9:53"])
    }

    @Test func withoutServersTheHostItselfIsAsked() {
        #expect(servers("") == ["127.0.0.1:53"])
        #expect(servers("search example.com\n") == ["127.0.0.1:53"])
    }

    @Test func serversAreBounded() {
        let text = (1...50).map { "nameserver 192.0.2.\($0)" }.joined(separator: "\n")
        #expect(servers(text).count == ResolvConf.mostServers)
    }

    @Test func octetsOfAnyKindAreRead() {
        var random = SeededRandom(state: 5)
        for _ in 0..<2000 {
            let words = ["nameserver ", "192.0.2.1", ":", "%", "\n", "#", "[", "]", "\u{0}", "fe80::", "é", "\t"]
            let text = (0..<Int.random(in: 0...20, using: &random)).map { _ in
                words[Int.random(in: 0..<words.count, using: &random)]
            }
            #expect(!ResolvConf.servers(in: Array(text.joined().utf8)).isEmpty)
        }
    }

    @Test func aFileIsReadAgainWhenItChanges() throws {
        let path = "/tmp/corral-resolv-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        defer { unlink(path) }
        func write(_ text: String, modified: Int) throws {
            let file = try #require(fopen(path, "w"))
            fputs(text, file)
            fclose(file)
            let times = [timespec(tv_sec: modified, tv_nsec: 0), timespec(tv_sec: modified, tv_nsec: 0)]
            #expect(utimensat(AT_FDCWD, path, times, 0) == 0)
        }
        try write("nameserver 192.0.2.1\n", modified: 1000)
        let servers = UpstreamServers(resolvConf: path)
        let now = ContinuousClock.now
        #expect(servers.current(now: now).map(\.description) == ["192.0.2.1:53"])
        try write("nameserver 192.0.2.2\n", modified: 2000)
        #expect(servers.current(now: now.advanced(by: .seconds(4))).map(\.description) == ["192.0.2.1:53"])
        #expect(servers.current(now: now.advanced(by: .seconds(5))).map(\.description) == ["192.0.2.2:53"])
        // A file that is gone for a moment changes nothing.
        unlink(path)
        #expect(servers.current(now: now.advanced(by: .seconds(11))).map(\.description) == ["192.0.2.2:53"])
        #expect(UpstreamServers(resolvConf: path).current().isEmpty)
    }
}
