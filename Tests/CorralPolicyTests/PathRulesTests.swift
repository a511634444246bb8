import CorralPolicy
import RandomPolicies
import Testing

@testable import CorralPolicy

@Suite struct PathRulesTests {
    private func policy(_ files: String, _ rest: String = "") throws -> Policy {
        try Policy(yaml: "apiVersion: corral/v1\nname: p\n\(rest)\nfiles:\n\(files)\n", file: "p.yaml")
    }

    private func problem(_ files: String, _ rest: String = "") -> String {
        do {
            _ = try policy(files, rest)
            return "none"
        } catch {
            return "\(error)"
        }
    }

    private let example = """
          exec: { allow: [/usr/bin/, /bin/sh] }
          read: { deny: [/etc/shadow, /keys/] }
          write:
            allow: [/tmp/, /project]
            deny:
              - /project/.git/
        """

    @Test func theyAreReadWithTheirPlaces() throws {
        let rules = try policy(example).files.rules
        #expect(rules[.exec]?.allow?.map(\.path) == ["/usr/bin/", "/bin/sh"] && rules[.exec]?.deny == [])
        #expect(rules[.read]?.allow == nil && rules[.read]?.deny.map(\.path) == ["/etc/shadow", "/keys/"])
        #expect(rules[.write]?.deny == [PathRule("/project/.git/", line: 10)])
        #expect(rules[PathRuleReference(.write, isDeny: true, index: 0)]?.line == 10)
        #expect(rules[PathRuleReference(.write, isDeny: true, index: 1)] == nil)
        #expect(rules.firstField == "files.exec")
        #expect(try policy("  image: host").files.rules.isEmpty)
    }

    @Test(arguments: [
        ("/etc/shadow", true), ("/", true), ("/usr/bin/", true), ("/a b/é", true), ("/..a/.b", true),
        ("/" + String(repeating: "a", count: 239), true), ("/" + String(repeating: "a", count: 240), false),
        ("", false), ("etc", false), ("//", false), ("/a//b", false), ("/a/./b", false), ("/a/..", false),
        ("/../", false),
        ("/a//", false), ("/a/**", false), ("/*", false), ("/a\nb", false), ("/a\0b", false), ("/a\u{7f}", false),
    ])
    func onlyNormalisedPathsAreRules(path: String, isRule: Bool) {
        #expect((PathRule.whatIsWrong(with: path) == nil) == isRule, "\(path)")
    }

    @Test func whatIsWrongIsNamedWithFieldAndLine() {
        #expect(
            problem("  read: { deny: [etc] }").hasPrefix(
                "p.yaml:5:18: files.read.deny[0]: \"etc\" does not begin with /"))
        #expect(
            problem("  write: { allow: [/a, /b/../c] }").contains("files.write.allow[1]: \"/b/../c\" is not normalised")
        )
        #expect(problem("  exec: { allow: [/usr/**] }").contains("files.exec.allow[0]: \"/usr/**\" holds a wildcard"))
        #expect(
            problem("  exec: { permit: [/usr/] }").contains(
                "files.exec.permit: is no field of a policy; expected allow, deny"))
        #expect(problem("  exec: {}").contains("files.exec: is empty"))
        #expect(problem("  exec: [/bin/sh]").contains("files.exec: is a list"))
        #expect(problem("  exec: { allow: /bin/sh }").contains("files.exec.allow: is \"/bin/sh\"; expected a list"))
        #expect(problem("  exec: { allow: [[a]] }").contains("files.exec.allow[0]: is a list"))
        let many = (0...PathRule.maximum).map { "/\($0)" }.joined(separator: ", ")
        #expect(problem("  read: { deny: [\(many)] }").contains("files: has \(PathRule.maximum + 1) rules on paths"))
    }

    @Test func callsThatShowFilesUnderOtherPathsDoNotGoWithThem() throws {
        let rules = "  read: { deny: [/etc/shadow] }"
        for call in ["mount", "move_mount", "open_tree", "fsmount", "pivot_root", "umount2", "open_by_handle_at"] {
            let text = problem(rules, "syscalls: { allow: [\(call)] }")
            #expect(text.contains("files.read: does not hold where syscalls permits \(call)"), "\(text)")
        }
        #expect(problem(rules, "syscalls: { profile: unconfined }").contains("files.read"))
        for profile in ["default", "strict", "none"] {
            #expect(problem(rules, "syscalls: { profile: \(profile) }") == "none", "\(profile)")
        }
        let denied = Policy.FileRules.callsThatMoveFiles.joined(separator: ", ")
        #expect(problem(rules, "syscalls: { profile: unconfined, deny: [\(denied)] }") == "none")
        #expect(problem("  image: host", "syscalls: { profile: unconfined }") == "none")
    }

    @Test(arguments: [
        (FileAccess.exec, "/usr/bin/ls", true), (.exec, "/bin/sh", true), (.exec, "/bin/shx", false),
        (.exec, "/usr/bin", false), (.exec, "/tmp/x", false), (.read, "/etc/shadow", false),
        (.read, "/etc/shadow2", true),
        (.read, "/etc/", true), (.read, "/keys/", false), (.read, "/keys/.ssh/id", false), (.read, "/keys", true),
        (.write, "/tmp/a", true), (.write, "/tmp", false), (.write, "/project", true),
        (.write, "/project/a/b", true),
        (.write, "/project/.git/config", false), (.write, "/project/.gitignore", true),
        (.write, "/projects", false),
        (.write, "/", false),
    ])
    func theLongestMatchDecides(access: FileAccess, path: String, isAllowed: Bool) throws {
        let policy = try policy(example)
        #expect((policy.decide(access, path).verdict == .allow) == isAllowed)
        #expect(try policy.compile(host: HostContext()).paths.decide(access, path) == policy.decide(access, path))
    }

    @Test func denyWinsATieAndWhatHasNoPathIsCoveredByNone() throws {
        let tie = try policy("  read: { allow: [/a, /], deny: [/a/] }")
        #expect(tie.decide(.read, "/a/b").verdict == .deny && tie.decide(.read, "/a").verdict == .allow)
        #expect(tie.decide(.read, nil) == Decision(.deny, .pathNotAllowed))
        #expect(try policy("  exec: { deny: [/] }").decide(.exec, nil).verdict == .allow)
        let nothing = try policy("  exec: { allow: [] }")
        #expect(nothing.decide(.exec, "/bin/sh") == Decision(.deny, .pathNotAllowed))
        #expect(nothing.decide(.read, "/bin/sh").verdict == .allow)
    }

    @Test func whatIsCompiledAnswersAsThePlainReading() throws {
        var random = SplitMix64(state: 12)
        func path() -> String {
            let names = (0..<random.next() % 4).map { _ in ["a", "b", "ab", "c.d"][Int(random.next() % 4)] }
            let text = "/" + names.joined(separator: "/")
            return names.isEmpty || random.next() % 3 > 0 ? text : text + "/"
        }
        func list() -> [PathRule] { (0..<random.next() % 5).map { _ in PathRule(path()) } }
        for _ in 0..<2000 {
            var policy = Policy(name: "p")
            for access in FileAccess.allCases where random.next() % 3 > 0 {
                policy.files.rules[access] = PathRules(allow: random.next() % 2 > 0 ? list() : nil, deny: list())
            }
            let compiled = CompiledPaths(policy.files.rules)
            for access in FileAccess.allCases {
                for asked in [path(), path(), path(), nil] {
                    #expect(compiled.decide(access, asked) == policy.decide(access, asked))
                }
            }
        }
    }

    @Test func everyDirectoryAboveARuleIsKnown() throws {
        let compiled = CompiledPaths(try policy("  read: { deny: [/a/b/c, /d/] }").files.rules)
        let above = compiled.entries.filter { $0.space == .above }.map {
            String(decoding: $0.key.dropLast(), as: UTF8.self)
        }
        #expect(above.sorted() == ["/a", "/a/b", "/a/b/c", "/d"])
        #expect(compiled.judged == [.read] && compiled.entries.contains { $0.key.isEmpty && $0.verdict == .allow })
        #expect(CompiledPaths(Policy.FileRules()) == .none)
    }

    @Test func explainTestAndDiffKnowOfThem() throws {
        let policy = try policy(example)
        func explain(_ text: String) throws -> String {
            policy.explain(try Endpoint.parse(text), host: HostContext()).description
        }
        #expect(
            try explain("read:/etc/shadow") == """
                deny  read:/etc/shadow  denied_by_rule
                rule: files.read.deny[0] (p.yaml:6)
                hint: files.read.deny[0] covers /etc/shadow; remove or narrow that rule to permit it
                """)
        #expect(try explain("exec:/tmp/x").contains("hint: no rule of files.exec.allow covers /tmp/x"))
        #expect(try explain("read:/etc/hosts").contains("note: no rule of files.read covers it"))
        #expect(throws: Endpoint.ParseError.self) { try Endpoint.parse("read:/etc/../x") }
        let cases = try PolicyCases(
            yaml: """
                - { to: "read:/etc/shadow", expect: deny, rule: "files.read.deny[0]" }
                - { to: "write:/tmp/x", expect: allow }
                - { to: "exec:/tmp/x", expect: deny, reason: path_not_allowed }
                - { to: "write:/project/.git/x", expect: allow }
                """, file: "cases.yaml")
        #expect(cases.run(on: policy, host: HostContext()).map(\.passes) == [true, true, true, false])
        let diff = try PolicyDiff(
            from: policy, to: self.policy("  exec: { allow: [/usr/bin/] }"), host: HostContext())
        #expect(
            diff.settings.map(\.field) == [
                "files.exec.allow", "files.read.deny", "files.write.allow", "files.write.deny",
            ])
        #expect(diff.settings[0].before == "/bin/sh, /usr/bin/" && diff.settings[0].after == "/usr/bin/")
    }
}
