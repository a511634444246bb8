import Foundation
import Testing

@testable import CorralPolicy

@Suite struct SyscallProfileTests {
    @Test(arguments: SyscallPolicy.Profile.allCases)
    func namesAreOfThisArchitecture(profile: SyscallPolicy.Profile) {
        let rules = SyscallProfile.named(profile).rules
        #expect(rules.isEmpty == (profile == .unconfined))
        for call in rules.keys { #expect(SyscallTable.number(call, .amd64) != nil, "\(call)") }
    }

    @Test func strictPermitsNothingThatTheDefaultRefuses() {
        let (strict, standard) = (SyscallProfile.named(.strict), SyscallProfile.named(.standard))
        for call in SyscallTable.names(.amd64).keys where strict.rule(for: call).answer.isPermitted {
            #expect(standard.rule(for: call).answer == .allowed, "\(call)")
        }
        for call in ["execve", "exit_group", "rt_sigreturn", "mmap", "openat", "read", "write"] {
            #expect(strict.rule(for: call) == .init(.allowed))
        }
    }

    @Test func noneHoldsWhatIsAllowedOnTheConditionsOfTheDefault() throws {
        let (none, strict) = (SyscallProfile.named(.none), SyscallProfile.named(.strict))
        for call in SyscallTable.names(.amd64).keys where none.rule(for: call).answer.isPermitted {
            #expect(strict.rule(for: call) == .init(.allowed), "\(call)")
        }
        let policy = SyscallPolicy(profile: .none, allow: ["clone", "read"], allowAnyArguments: ["ioctl"]).resolved
        #expect(policy.rule(for: "clone") == SyscallProfile.named(.standard).rule(for: "clone"))
        #expect(policy.rule(for: "read") == .init(.allowed) && policy.rule(for: "ioctl") == .init(.allowed))
        #expect(policy.rule(for: "openat") == .init(.refused) && policy.rule(for: "clone3") == .init(.absent))
        #expect(SyscallPolicy(profile: .strict, allow: ["socket"]).resolved.rule(for: "socket").condition != nil)
    }

    @Test func theWholeOfAPolicyComesToOneAnswerForEachCall() throws {
        let policy = try Policy(
            yaml: ParserTests.head + """
                syscalls:
                  allow: [ptrace, "@ipc", fstat64, { name: socket, arguments: any }]
                  deny: ["@clock", { name: ptrace, action: kill }, { name: ptrace, action: log }, { name: clone, action: log }]
                """, file: "web.yaml")
        let profile = policy.syscalls.resolved
        #expect(profile.rule(for: "ptrace") == .init(.killed))
        #expect(profile.rule(for: "nanosleep") == .init(.refused))
        #expect(profile.rule(for: "socket") == .init(.allowed))
        #expect(profile.rule(for: "msgget") == .init(.allowed))
        #expect(profile.rule(for: "clone").answer == .logged && profile.rule(for: "clone").condition != nil)
        #expect(profile.rule(for: "bpf") == .init(.refused))
        #expect(profile.rules["fstat64"] == nil)
    }

    @Test func explainNamesEveryCallOnce() {
        let profile = SyscallPolicy(allow: ["ptrace"], deny: ["kcmp": .kill, "clone": .log]).resolved
        let text = "\(profile)"
        let listed = SyscallProfile.Answer.allCases.flatMap { profile.calls($0) } + profile.conditional.map(\.call)
        #expect(listed.sorted() == SyscallTable.names(.amd64).keys.sorted())
        #expect(text.contains("killed (1):\n  kcmp"))
        #expect(text.contains("  clone: allowed, logged: no flag for a new namespace; else EPERM"))
    }

    @Test func differencesNameTheCalls() throws {
        func policy(_ text: String) throws -> Policy { try Policy(yaml: ParserTests.head + text, file: "web.yaml") }
        let old = try policy("syscalls: { allow: [ptrace] }")
        let new = try policy("syscalls: { deny: [{ name: openat2, action: kill }] }")
        let diff = try PolicyDiff(from: old, to: new, host: HostContext())
        #expect(
            diff.syscalls == [
                SyscallChange(calls: ["ptrace"], before: "allowed", after: "EPERM"),
                SyscallChange(calls: ["openat2"], before: "allowed", after: "killed"),
            ])
        #expect("\(diff)" == "syscalls  ptrace: allowed -> EPERM\nsyscalls  openat2: allowed -> killed")
        // Another way to write the same.
        let same = try policy("syscalls: { profile: default, allow: [ptrace, read] }")
        #expect(try PolicyDiff(from: old, to: same, host: HostContext()).isEmpty)
    }

    /// docs/SYSCALLS.md holds what the data says, word for word.
    @Test(arguments: SyscallPolicy.Profile.allCases)
    func theDocumentShowsTheProfiles(profile: SyscallPolicy.Profile) throws {
        let path = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "../../docs/SYSCALLS.md")
        let document = try String(contentsOf: path, encoding: .utf8)
        #expect(document.contains("```\n\(SyscallProfile.named(profile))\n```"), "\(profile)")
    }
}
