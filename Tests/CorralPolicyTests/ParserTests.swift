import CorralPolicy
import Testing

@Suite struct ParserTests {
    static let head = "apiVersion: corral/v1\nname: web\n"

    private func problems(_ text: String) -> [String] {
        do {
            _ = try Policy(yaml: text, file: "web.yaml")
            return []
        } catch {
            return error.problems.map(\.description)
        }
    }

    @Test func readsEveryFieldThatIsSupported() throws {
        let policy = try Policy(
            yaml: Self.head + """
                mode: audit
                egress:
                  allow:
                    - cidr: 203.0.113.0/24
                      ports: [443, "8000-8010"]
                      protocol: tcp
                    - preset: internet
                  deny:
                    - cidr: 203.0.113.66/32
                limits: { cpu: 0.5, memory: 256MiB, pids: 128, disk: 1GiB, timeout: 5m }
                files: { image: host }
                env: { LANG: C.UTF-8 }
                """, file: "web.yaml"
        )
        #expect(policy.mode == .audit)
        #expect(policy.allow.count == 2 && policy.deny.count == 1)
        #expect(policy.allow[0].ports == [443...443, 8000...8010])
        #expect(policy.allow[0].protocols == [.tcp])
        #expect(policy.allow[1].target == .internet)
        #expect(policy.deny[0].protocols == Set(IPProtocol.allCases))
        #expect(policy.limits.memory == 256 << 20 && policy.limits.timeout == .seconds(300))
        #expect(policy.env == ["LANG": "C.UTF-8"])
    }

    @Test(arguments: [
        ("egress: { allow: [{ cidr: 203.0.113.9/24 }] }", "203.0.113.0/24"),
        ("egress: { allow: [{ cidr: 203.0.113.9, ports: [80a] }] }", "egress.allow[0].ports[0]: \"80a\" is not a port"),
        ("egress: { allow: [{ cidr: 203.0.113.9, ports: [\"90-80\"] }] }", "ends before it begins"),
        ("egress: { allow: [{ cidr: 203.0.113.9, protocol: sctp }] }", "not a protocol"),
        ("egress: { allow: [{ ports: [80] }] }", "names no destination"),
        ("egress: { allow: [{ cidr: \"::/0\" }] }", "IPv4"),
        ("egress: { allow: [{ cidr: \"64:ff9b::/96\" }] }", "carries IPv4"),
        ("egress: { alow: [] }", "egress.alow: is no field"),
        ("limits: { memory: lots }", "limits.memory"),
        ("mode: strict", "mode: \"strict\""),
        ("name: again", "stands twice"),
        ("egress: { allow: [{ domain: example.com }] }", "not supported yet: egress.allow[0].domain"),
        ("egress: { limits: { bytes: 5MiB } }", "not supported yet: egress.limits.bytes"),
        ("syscalls: { deny: [] }", "not supported yet: syscalls.deny"),
        ("trace: { syscalls: all }", "not supported yet: trace.syscalls"),
        ("files: { mounts: [] }", "not supported yet: files.mounts"),
    ])
    func refusesWithFileAndReason(text: String, expected: String) {
        let found = problems(Self.head + text)
        #expect(found.contains { $0.hasPrefix("web.yaml:") && $0.contains(expected) }, "\(found)")
    }

    @Test func refusesWhatFollowsAWholePolicy() {
        #expect(problems(Self.head).isEmpty)
        #expect(!problems(Self.head + "...\n}").isEmpty)
        #expect(problems(Self.head + "mode: [").contains { $0.hasPrefix("web.yaml:") && $0.contains("a bracket") })
    }

    @Test func namesEveryProblemAtOnce() {
        #expect(problems("mode: x\nlimits: { pids: 0 }").count == 4)
    }

    @Test(arguments: [
        "", "- a", "a: [", "\u{0}", String(repeating: "[", count: 100_000), "a: &x [*x, *x]", "--- a\n--- b",
    ])
    func refusesWhatIsNoPolicy(text: String) {
        #expect(!problems(text).isEmpty)
    }
}
