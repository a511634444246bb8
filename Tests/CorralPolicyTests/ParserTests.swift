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
                syscalls: { profile: strict, allow: [ptrace], deny: [{ name: openat2, action: kill }, kcmp] }
                limits:
                  { cpu: 0.5, cpuWeight: 50, memory: 256MiB, pids: 128, disk: 1GiB, openFiles: 64, io: { write: 1MiB },
                    timeout: 5m }
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
        #expect(policy.syscalls.profile == .strict && policy.syscalls.allow == ["ptrace"])
        #expect(policy.syscalls.deny == ["openat2": .kill, "kcmp": .errno])
        #expect(policy.limits.cpuWeight == 50 && policy.limits.openFiles == 64 && policy.limits.ioWrite == 1 << 20)
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
        ("egress: { allow: [{ domain: \"*\" }] }", "egress.allow[0].domain: \"*\" covers every name"),
        ("egress: { allow: [{ domain: 192.0.2.7 }] }", "is an address"),
        ("egress: { allow: [{ domain: a.example, cidr: 192.0.2.7 }] }", "names domain and cidr"),
        ("egress: { deny: [{ domain: a.example, ports: [80] }] }", "egress.deny[0]: refuses a name"),
        ("egress: { deny: [{ domain: a.example, protocol: tcp }] }", "egress.deny[0]: refuses a name"),
        ("egress: { limits: { bytes: 5 } }", "egress.limits.bytes: \"5\" is no such size"),
        ("egress: { limits: { rate: 10 } }", "egress.limits.rate: \"10\" is no such rate"),
        ("egress: { limits: { rate: 10MB } }", "is no such rate"),
        ("egress: { limits: { rate: 1e3kbit } }", "is no such rate"),
        ("egress: { limits: { rate: 1kbit } }", "from 8kbit"),
        ("egress: { limits: { connections: 0 } }", "egress.limits.connections"),
        ("egress: { limits: { dnsQueries: -1 } }", "egress.limits.dnsQueries"),
        ("egress: { limits: { packets: 1 } }", "egress.limits.packets: is no field"),
        (
            "syscalls: { profile: lax }",
            "syscalls.profile: \"lax\" is no profile; expected default, strict, none or unconfined"
        ),
        (
            "syscalls: { allow: [ptrase] }",
            "syscalls.allow[0]: \"ptrase\" is no system call and no group of them; expected ptrace"
        ),
        ("syscalls: { allow: [\"@netwrk\"] }", "expected @network"),
        (
            "syscalls: { allow: [{ name: socket, arguments: some }] }",
            "syscalls.allow[0].arguments: \"some\" is not known; expected any"
        ),
        ("syscalls: { allow: [{ name: socket, action: kill }] }", "syscalls.allow[0].action: is no field"),
        (
            "syscalls: { deny: [{ name: openat2, action: stop }] }",
            "syscalls.deny[0].action: \"stop\" is no action; expected errno, kill or log"
        ),
        ("syscalls: { deny: [{ action: kill }] }", "syscalls.deny[0].name: is missing"),
        ("syscalls: { deny: [openat2, execve] }", "syscalls.deny[1]: refuses execve"),
        ("syscalls: { deny: [{ name: \"@process\", action: kill }] }", "syscalls.deny[0]: refuses execve"),
        ("syscalls: { deny: openat }", "syscalls.deny: is \"openat\"; expected a list"),
        ("limits: { cpuWeight: 0 }", "limits.cpuWeight: \"0\" is no weight"),
        ("limits: { openFiles: 4 }", "limits.openFiles: \"4\" is no such number"),
        ("limits: { io: { read: 1KiB } }", "limits.io.read: \"1KiB\" is no such rate"),
        ("limits: { io: { reads: 1MiB } }", "limits.io.reads: is no field"),
        ("trace: { syscalls: some }", "trace.syscalls"),
        ("files: { mounts: [{ source: srv, target: /data }] }", "\"srv\" is no such path"),
        ("files: { mounts: [{ source: /srv/../etc, target: /data }] }", "is no such path"),
        ("files: { mounts: [{ source: /srv, target: / }] }", "\"/\" is no such path"),
        ("files: { mounts: [{ source: /srv }] }", "files.mounts[0].target: is missing"),
        ("files: { mounts: [{ source: /srv, target: /data, readOnly: no }] }", "\"no\" is neither"),
        ("files: { image: Big }", "\"Big\" is no name of an image"),
    ])
    func refusesWithFileAndReason(text: String, expected: String) {
        let found = problems(Self.head + text)
        #expect(found.contains { $0.hasPrefix("web.yaml:") && $0.contains(expected) }, "\(found)")
    }

    @Test func readsNamesAndBudgets() throws {
        let policy = try Policy(
            yaml: Self.head + """
                egress:
                  allow:
                    - domain: API.Example.com.
                      ports: [443]
                    - { domain: "*.example.org", protocol: [tcp, icmp] }
                  deny:
                    - domain: "*.evil.example.org"
                  limits: { bytes: 50MiB, connections: 1000, rate: 1.5Mbit, dnsQueries: 500 }
                """, file: "web.yaml"
        )
        #expect(policy.allow.map { $0.names?.description } == ["api.example.com", "*.example.org"])
        #expect(policy.allow[0].ports == [443...443] && policy.allow[1].protocols == [.tcp, .icmp])
        #expect(policy.deny[0].names?.description == "*.evil.example.org")
        #expect(
            policy.budgets
                == EgressBudgets(bytes: 50 << 20, connections: 1000, bitsPerSecond: 1_500_000, dnsQueries: 500))
        #expect(try Policy(yaml: Self.head, file: "").budgets == EgressBudgets())
    }

    @Test(
        arguments: [
            ("8kbit", 8_000), ("10Mbit", 10_000_000), ("1Gbit", 1_000_000_000), ("0.5Mbit", 500_000), ("12bit", 12),
            ("10", nil), ("10 Mbit", nil), ("-1Mbit", nil), ("Mbit", nil), ("10mbit", nil), ("10MiB", nil),
            ("1.2.3Mbit", nil),
            ("9999999999Gbit", nil),
        ] as [(String, UInt64?)])
    func ratesAreDecimalBitsASecond(text: String, bits: UInt64?) {
        #expect(BitRate.parse(text) == bits)
        if let bits { #expect(BitRate.parse(BitRate.text(bits)) == bits) }
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
