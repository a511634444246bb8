import Testing

@testable import CorralPolicy

@Suite struct PolicyLearnerTests {
    private func use(_ time: Int64, _ program: String? = "/usr/bin/curl") -> PolicyLearner.Use {
        PolicyLearner.Use(first: time, last: time, count: 1, programs: program.map { [$0] } ?? [])
    }

    private func address(_ text: String) throws -> IPAddress { try #require(IPAddress(text)) }

    private func text(_ learner: PolicyLearner, calls: PolicyLearner.Calls = .none) -> String {
        learner.policy(named: "learned", source: "a test", calls: calls, time: { "T\($0)" })
    }

    private func rules(_ learner: PolicyLearner, _ calls: PolicyLearner.Calls = .none) -> [String] {
        text(learner, calls: calls).split(separator: "\n").filter { $0.hasPrefix("    - ") }.map {
            String($0.dropFirst(6))
        }
    }

    @Test func namesStandForTheAddressesThatTheyResolvedTo() throws {
        var learner = PolicyLearner()
        learner.resolve("api.Example.com.", to: [try address("203.0.113.9"), try address("2001:db8::9")], use(1, nil))
        learner.reach(try address("203.0.113.9"), name: nil, .tcp, port: 443, use(2))
        learner.reach(try address("2001:db8::9"), name: nil, .tcp, port: 443, use(3, "/usr/bin/wget"))
        learner.reach(try address("198.51.100.1"), name: "known.example", .tcp, port: 80, use(4))
        #expect(
            rules(learner) == [
                "{ domain: api.example.com, ports: [443], protocol: tcp }  # 2 times, T2 to T3, by /usr/bin/curl, /usr/bin/wget",
                "{ domain: known.example, ports: [80], protocol: tcp }  # once, T4, by /usr/bin/curl",
            ])
        let policy = try Policy(yaml: text(learner), file: "t.yaml")
        #expect(policy.allow.count == 2)
        #expect(policy.mode == .enforce)
    }

    /// What one sandbox was told means nothing to another.
    @Test func namesAreThoseOfTheSandbox() throws {
        var learner = PolicyLearner()
        let shared = try address("203.0.113.9")
        learner.resolve("a.example", to: [shared], in: "sb-1", use(1, nil))
        learner.reach(shared, name: nil, .tcp, port: 443, in: "sb-2", use(2))
        #expect(
            rules(learner).map { $0.prefix { $0 != "#" } } == [
                "{ domain: a.example, ports: [53] }  ", "{ cidr: 203.0.113.9/32, ports: [443], protocol: tcp }  ",
            ])
    }

    @Test func addressesWithoutANameStandForThemselves() throws {
        var learner = PolicyLearner()
        learner.reach(try address("203.0.113.9"), name: nil, .udp, port: 123, use(1))
        learner.reach(try address("2001:db8::9"), name: nil, .tcp, port: 22, use(2))
        learner.reach(try address("::ffff:198.51.100.7"), name: nil, .tcp, port: 1, use(3))
        learner.reach(try address("203.0.113.9"), name: nil, .icmp, port: nil, use(4))
        #expect(
            rules(learner).map { $0.prefix { $0 != "#" } } == [
                "{ cidr: 203.0.113.9/32, ports: [123], protocol: udp }  ",
                "{ cidr: \"2001:db8::9/128\", ports: [22], protocol: tcp }  ",
                "{ cidr: 198.51.100.7/32, ports: [1], protocol: tcp }  ", "{ cidr: 203.0.113.9/32, protocol: icmp }  ",
            ])
        let policy = try Policy(yaml: text(learner), file: "t.yaml")
        func verdict(_ text: String, _ proto: IPProtocol, _ port: UInt16) throws -> Verdict {
            let destination = Destination(address: try address(text), proto: proto, port: port)
            return policy.decide(destination, host: HostContext()).verdict
        }
        #expect(try verdict("203.0.113.9", .udp, 123) == .allow)
        #expect(try verdict("203.0.113.9", .tcp, 123) == .deny)
        #expect(try verdict("2001:db8::9", .tcp, 22) == .allow)
        #expect(try verdict("2001:db8::8", .tcp, 22) == .deny)
    }

    @Test func portsAreTogetherAndNoMoreThanWereUsed() throws {
        var learner = PolicyLearner()
        let target = try address("203.0.113.9")
        for port in [8003, 80, 8000, 8001, 443, 8002] as [UInt16] {
            learner.reach(target, name: nil, .tcp, port: port, use(1))
        }
        learner.reach(target, name: nil, .udp, port: 443, use(2))
        #expect(
            rules(learner).map { $0.prefix { $0 != "#" } }.sorted() == [
                "{ cidr: 203.0.113.9/32, ports: [443] }  ",
                "{ cidr: 203.0.113.9/32, ports: [80, \"8000-8003\"], protocol: tcp }  ",
            ])
        for port in stride(from: 1, to: 5000, by: 2) as StrideTo<Int> {
            learner.reach(target, name: nil, .tcp, port: UInt16(port), use(3))
        }
        let policy = try Policy(yaml: text(learner), file: "t.yaml")
        #expect(policy.allow.count == 4)
    }

    @Test func namesThatWereOnlyAskedForOpenNothing() throws {
        var learner = PolicyLearner()
        learner.resolve("asked.example", to: [try address("203.0.113.9")], use(1, nil))
        learner.resolve("not a name", to: [], use(2, nil))
        learner.resolve("*.wild.example", to: [], use(3, nil))
        #expect(rules(learner) == ["{ domain: asked.example, ports: [53] }  # only resolved, once, T1"])
        #expect(text(learner).contains("#   the name *.wild.example: name_not_allowed"))
        let policy = try Policy(yaml: text(learner), file: "t.yaml")
        #expect(policy.resolvesNames)
    }

    @Test func whatNoPolicyPermitsIsACommentOfOneLine() throws {
        var learner = PolicyLearner()
        learner.refuse("169.254.169.254:80/tcp", .reservedAddress, hint: "a\nname: evil\u{2028}\u{1b}[2J", use(1))
        learner.refuse(
            "169.254.169.254:80/tcp", .reservedAddress, hint: "a\nname: evil\u{2028}\u{1b}[2J", use(2, "/x\ny"))
        let text = text(learner)
        #expect(text.contains("#   169.254.169.254:80/tcp: reserved_address; a?name: evil??[2J (2 times, T1 to T2, by"))
        let policy = try Policy(yaml: text, file: "t.yaml")
        #expect(policy.allow.isEmpty)
        #expect(policy.name == "learned")
    }

    @Test func theCallsThatWereMadeArePermittedAndNoOthers() throws {
        var learner = PolicyLearner()
        learner.call("openat", isRefused: false, use(2))
        learner.count("openat", made: 12, refused: 0, otherwise: use(9, nil))
        learner.count("socket", made: 2, refused: 1, otherwise: use(3, nil))
        learner.call("ptrace", isRefused: true, use(4))
        learner.call("clone3", isRefused: true, use(5))
        learner.call("write", isRefused: false, use(6))
        learner.call("stat64", isRefused: true, use(7))
        #expect(!text(learner).contains("syscalls:"))

        let seen = text(learner, calls: .seen)
        #expect(
            rules(learner, .seen) == [
                "openat  # 12 times, first T2, by /usr/bin/curl", "socket  # 2 times, first T3",
            ])
        #expect(
            seen.contains("#   ptrace: syscall_not_allowed; --syscalls tried permits it (once, T4, by /usr/bin/curl)"))
        #expect(seen.contains("#   clone3: syscall_not_allowed; no policy"))
        #expect(seen.contains("#   stat64: syscall_not_allowed; no profile"))
        var profile = try Policy(yaml: seen, file: "t.yaml").syscalls.resolved
        for call in ["openat", "write", "execve", "exit_group", "futex", "mmap"] {
            #expect(profile.rule(for: call) == .init(.allowed), "\(call)")
        }
        for call in ["mkdirat", "read", "ptrace", "setpriority", "clone"] {
            #expect(profile.rule(for: call) == .init(.refused), "\(call)")
        }
        #expect(profile.rule(for: "clone3") == .init(.absent))
        // As in the default profile: not every family.
        #expect(profile.rule(for: "socket").condition != nil)

        #expect(
            rules(learner, .tried) == [
                "openat  # 12 times, first T2, by /usr/bin/curl", "ptrace  # once, T4, by /usr/bin/curl",
                "{ name: socket, arguments: any }  # 3 times, first T3",
            ])
        profile = try Policy(yaml: text(learner, calls: .tried), file: "t.yaml").syscalls.resolved
        #expect(profile.rule(for: "ptrace") == .init(.allowed) && profile.rule(for: "socket") == .init(.allowed))
    }
}
