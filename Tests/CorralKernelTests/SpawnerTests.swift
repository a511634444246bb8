import CLinux
import CorralPolicy
import Dispatch
import Foundation
import Glibc
import Synchronization
import Testing

@testable import CorralKernel

@Suite(.serialized, .enabled(if: Kernel.isAvailable, "needs root and a writable cgroup v2"))
struct SpawnerTests {
    /// A sandbox on a minimal root, and its removal.
    private final class Fixture {
        let root: String
        let instance: String
        let hierarchy: CgroupHierarchy
        let spawner: Spawner
        let cgroup: SandboxCgroup

        init(_ name: String) throws {
            instance = "test-\(getpid())-\(name)"
            root = "/tmp/corral-\(instance)"
            hierarchy = try CgroupHierarchy.detect()
            mkdir(root, 0o755)
            for directory in ["usr", "proc", "sys", "dev", "tmp", "etc"] { mkdir("\(root)/\(directory)", 0o755) }
            for link in ["bin", "lib", "lib64"] { symlink("usr/\(link)", "\(root)/\(link)") }
            spawner = try Spawner()
            cgroup = try SandboxCgroup.create(hierarchy: hierarchy, instance: instance, id: "one")
        }

        var request: SpawnRequest {
            SpawnRequest(
                uidBase: 0x6000_0000, uidCount: 65536, upperBytes: 16 << 20, upperInodes: 10_000, hostname: "inside",
                image: root, mounts: [.init(source: "/usr", target: "/usr", readOnly: true)])
        }

        func tearDown() throws {
            spawner.stop()
            try? cgroup.killAll()
            try cgroup.remove()
            try hierarchy.removeInstance(instance: instance)
            for link in ["bin", "lib", "lib64"] { unlink("\(root)/\(link)") }
            for directory in ["usr", "proc", "sys", "dev", "tmp", "etc", ""] { rmdir("\(root)/\(directory)") }
        }
    }

    private func next(_ channel: InitChannel) throws -> InitMessage {
        try #require(try channel.receive(timeoutMilliseconds: 10_000))
    }

    private func readAll(_ descriptor: SharedDescriptor) -> String {
        var text: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while case let count = read(descriptor.raw, &buffer, buffer.count), count > 0 { text += buffer.prefix(count) }
        return String(decoding: text, as: UTF8.self)
    }

    /// Runs a command to its end: stdout, stderr, status.
    private func run(
        _ channel: InitChannel, tag: UInt64, _ arguments: [String], input: String? = nil, processes: UInt32 = 0
    ) throws -> (String, String, Int32) {
        try channel.exec(
            tag: tag, arguments: arguments, environment: ["PATH": "/usr/bin:/bin", "A": "b=c"],
            workingDirectory: "/tmp",
            stdin: input != nil, keepCapabilities: false, seccomp: try SeccompProgram.compile(SyscallPolicy().resolved),
            upperBytes: 0,
            openFiles: 256, processes: processes)
        var output = ""
        var errors = ""
        switch try next(channel) {
        case .started(tag, let pid, let stdin, let stdout, let stderr):
            #expect(pid > 1)
            #expect((stdin != nil) == (input != nil))
            try Self.feed(stdin, input)
            output = readAll(stdout)
            errors = stderr.map(readAll) ?? errors
        case let other:
            Issue.record("\(other) instead of started")
        }
        guard case .exited(tag, let status, _, _, let maxRSS) = try next(channel) else {
            Issue.record("no exit")
            return (output, errors, -1)
        }
        #expect(maxRSS > 0)
        return (output, errors, status)
    }

    private static func feed(_ stdin: SharedDescriptor?, _ input: String?) throws {
        guard let stdin, let input else { return }
        let bytes = Array(input.utf8)
        #expect(write(stdin.raw, bytes, bytes.count) == bytes.count)
    }

    @Test func runsCommandsInASandbox() throws {
        let fixture = try Fixture("run")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let sandbox = try fixture.spawner.spawn(fixture.request, cgroupDirectory: fixture.cgroup.directory)
        #expect(try CgroupFile.read("/proc/\(sandbox.pid)/cgroup").contains("/corral/\(fixture.instance)/one"))
        let netlink = try NetlinkDescriptorProbe.domain(of: sandbox.netlink)
        #expect(netlink == AF_NETLINK)
        let pid = sandbox.pid
        let channel = InitChannel(control: sandbox.control)
        guard case .hello = try next(channel) else {
            Issue.record("no hello")
            return
        }
        #expect(try channel.receive(timeoutMilliseconds: 1) == nil)
        try fixture.cgroup.apply(CgroupLimits(cpu: 1, memoryBytes: 64 << 20, pids: 32), pid: pid)

        let (identity, _, status) = try run(channel, tag: 7, ["/usr/bin/id", "-u"])
        #expect(identity == "0\n")
        #expect(status == 0)
        let (words, complaints, code) = try run(
            channel, tag: 8, ["sh", "-c", "read x; echo $x $A; pwd; echo no >&2; exit 3"], input: "hello\n")
        #expect(words == "hello b=c\n/tmp\n")
        #expect(complaints == "no\n")
        #expect(code == 3 << 8)
        let (_, refusal, unshared) = try run(channel, tag: 9, ["unshare", "-U", "true"])
        #expect(refusal.contains("Operation not permitted"))
        #expect(unshared != 0)
        let tools = """
            import os, socket, subprocess, tempfile, threading
            thread = threading.Thread(target=lambda: subprocess.run(["true"], check=True))
            thread.start(); thread.join()
            socket.socket(); tempfile.TemporaryFile(); os.urandom(4); print("ok")
            """
        if access("/usr/bin/python3", X_OK) == 0 {
            let (said, trouble, end) = try run(channel, tag: 11, ["python3", "-c", tools])
            #expect(said == "ok\n", "\(trouble)")
            #expect(end == 0)
        }
        try channel.exec(
            tag: 10, arguments: ["/usr/bin/nothing"], environment: [:], workingDirectory: "/", stdin: false,
            keepCapabilities: false, seccomp: [], upperBytes: 0, openFiles: 0)
        guard case .execFailed(10, ENOENT, "execve") = try next(channel) else {
            Issue.record("no failure")
            return
        }

        #expect(fixture.cgroup.limitCounts(CgroupLimits(memoryBytes: 1)).oomKills == 0)
        try channel.exec(
            tag: 12, arguments: ["/bin/sh", "-c", "exec tail -n 1 < /dev/zero"], environment: [:],
            workingDirectory: "/",
            stdin: false, keepCapabilities: false, seccomp: [], upperBytes: 0, openFiles: 0)
        guard case .started(12, _, _, let stdout, _) = try next(channel) else {
            Issue.record("not started")
            return
        }
        #expect(readAll(stdout).isEmpty)
        // Only cgroup v2 ends the whole sandbox, corral-init too.
        let end = try next(channel)
        switch (end, fixture.hierarchy.v1["memory"]) {
        case (.exited(12, SIGKILL, _, _, _), .some), (.closed, nil): break
        default: Issue.record("\(end)")
        }
        #expect(fixture.cgroup.limitCounts(CgroupLimits(memoryBytes: 1)).oomKills >= 1)
    }

    @Test func signalsReachTheCommandAndTheEndOfTheSandboxIsSeen() throws {
        let fixture = try Fixture("signal")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let sandbox = try fixture.spawner.spawn(fixture.request, cgroupDirectory: fixture.cgroup.directory)
        let channel = InitChannel(control: sandbox.control)
        guard case .hello = try next(channel) else {
            Issue.record("no hello")
            return
        }
        try channel.exec(
            tag: 1, arguments: ["sleep", "60"], environment: [:], workingDirectory: "/", stdin: false,
            keepCapabilities: false, seccomp: [], upperBytes: 0, openFiles: 0)
        guard case .started(1, _, nil, _, _) = try next(channel) else {
            Issue.record("not started")
            return
        }
        try channel.signal(tag: 1, SIGTERM)
        guard case .exited(1, SIGTERM, _, _, _) = try next(channel) else {
            Issue.record("not ended")
            return
        }
        try? fixture.cgroup.killAll()
        guard case .closed = try next(channel) else {
            Issue.record("not closed")
            return
        }
    }

    @Test func aHelperThatIsStuckDelaysNoOther() throws {
        let fixture = try Fixture("stuck")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let stuck = try #require(fixture.spawner.idleHelpers.first)
        kill(stuck, SIGSTOP)
        defer { kill(stuck, SIGCONT) }
        let (spawner, request, cgroup) = (fixture.spawner, fixture.request, fixture.cgroup)
        let slow = Mutex<Int32?>(nil)
        let done = DispatchSemaphore(value: 0)
        Thread.detachNewThread {
            if let sandbox = try? spawner.spawn(request, cgroupDirectory: cgroup.directory) {
                let pid = sandbox.pid
                slow.withLock { $0 = pid }
            }
            done.signal()
        }
        while !spawner.idleHelpers.isEmpty { usleep(1000) }
        let begun = ContinuousClock.now
        for _ in 0..<3 {
            _ = try spawner.spawn(request, cgroupDirectory: cgroup.directory)
        }
        #expect(ContinuousClock.now - begun < .seconds(3))
        #expect(slow.withLock { $0 } == nil)
        kill(stuck, SIGCONT)
        #expect(done.wait(timeout: .now() + 10) == .success)
        #expect(slow.withLock { $0 } != nil)
    }

    @Test func secretsAreTheUsersAloneAndInNoLayer() throws {
        let fixture = try Fixture("secret")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let sandbox = try fixture.spawner.spawn(fixture.request, cgroupDirectory: fixture.cgroup.directory)
        let channel = InitChannel(control: sandbox.control)
        guard case .hello = try next(channel) else {
            Issue.record("no hello")
            return
        }
        let look = "ls -A /run 2>/dev/null; grep -c secrets /proc/mounts"
        let (without, _, _) = try run(channel, tag: 1, ["sh", "-c", look])
        #expect(without == "0\n")
        let large = [UInt8](repeating: 7, count: SecretContent.limit)
        try channel.deliver(secret: "token", SecretContent("one\ntwo".utf8), tag: 2, uid: 0, gid: 0)
        try channel.deliver(secret: "large", SecretContent(large), tag: 2, uid: 0, gid: 0)
        try channel.deliver(secret: "other", SecretContent("x".utf8), tag: 2, uid: 1000, gid: 1000)
        let (told, trouble, _) = try run(
            channel, tag: 3,
            [
                "sh", "-c",
                "cd /run/secrets; cat token; stat -c ' %n %a %u %s' *; cat other; grep /run/secrets /proc/mounts",
            ])
        #expect(told.hasPrefix("one\ntwo large 400 0 65536\n other 400 1000 1\n token 400 0 7\n"), "\(told)")
        #expect(told.contains("tmpfs rw,nosuid,nodev,noexec"))
        // Root inside has no capability to read what is another's.
        #expect(trouble.contains("ermission denied"))
        for name in [".", "..", "a/b", "", String(repeating: "a", count: 64)] {
            #expect(!InitChannel.isSecretName(name))
        }
        for name in ["a", "A_b-c.1", String(repeating: "a", count: 63)] { #expect(InitChannel.isSecretName(name)) }
        // What cannot be written leaves no command to start without it.
        try channel.deliver(secret: "../token", SecretContent("y".utf8), tag: 4, uid: 0, gid: 0)
        guard case .execFailed(4, EINVAL, _) = try next(channel) else {
            Issue.record("no refusal")
            return
        }
        try channel.exec(
            tag: 5, arguments: ["true"], environment: ["PATH": "/usr/bin"], workingDirectory: "/", stdin: false,
            keepCapabilities: false, seccomp: [], upperBytes: 0, openFiles: 0)
        guard case .execFailed(5, ECANCELED, "write the secrets") = try next(channel) else {
            Issue.record("started")
            return
        }
    }

    @Test func aSandboxFullOfProcessesTakesACommand() throws {
        let fixture = try Fixture("full")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let sandbox = try fixture.spawner.spawn(fixture.request, cgroupDirectory: fixture.cgroup.directory)
        let pid = sandbox.pid
        let channel = InitChannel(control: sandbox.control)
        guard case .hello = try next(channel) else {
            Issue.record("no hello")
            return
        }
        let limits = CgroupLimits(pids: 10)
        try fixture.cgroup.apply(limits, pid: pid)
        #expect(!fixture.cgroup.limitCounts(limits).isFullOfProcesses)
        // dash gives up at the fork that fails; the nine that started sleep on.
        try channel.exec(
            tag: 1, arguments: ["sh", "-c", "i=0; while [ $i -lt 30 ]; do sleep 60 & i=$((i+1)); done"],
            environment: [
                "PATH": "/usr/bin:/bin"
            ], workingDirectory: "/", stdin: false, keepCapabilities: false, seccomp: [], upperBytes: 0, openFiles: 0,
            processes: 10)
        guard case .started(1, _, _, _, let stderr) = try next(channel) else {
            Issue.record("not started")
            return
        }
        guard case .exited(1, let status, _, _, _) = try next(channel) else {
            Issue.record("not ended")
            return
        }
        #expect(status != 0)
        _ = stderr
        try channel.exec(
            tag: 2, arguments: ["sleep", "60"], environment: ["PATH": "/usr/bin:/bin"], workingDirectory: "/",
            stdin: false,
            keepCapabilities: false, seccomp: [], upperBytes: 0, openFiles: 0, processes: 10)
        guard case .started(2, _, _, _, _) = try next(channel) else {
            Issue.record("not started")
            return
        }
        #expect(fixture.cgroup.limitCounts(limits).isFullOfProcesses)
        let (_, refusal, end) = try run(channel, tag: 3, ["sh", "-c", "(true); exit 3"], processes: 10)
        #expect(refusal.lowercased().contains("fork") && end != 3 << 8)
    }

    @Test func failuresSayWhatFailedAndTheHelperGoesOn() throws {
        let fixture = try Fixture("fail")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        var request = fixture.request
        request.image = "/nonexistent"
        do {
            _ = try fixture.spawner.spawn(request, cgroupDirectory: fixture.cgroup.directory)
            Issue.record("made a sandbox of nothing")
        } catch {
            #expect("\(error)".contains("No such file or directory (ENOENT)"))
            #expect("\(error)".contains("image"))
        }
        request.image = String(repeating: "/x", count: 200)
        #expect(throws: KernelError.self) {
            _ = try fixture.spawner.spawn(request, cgroupDirectory: fixture.cgroup.directory)
        }
        _ = try fixture.spawner.spawn(fixture.request, cgroupDirectory: fixture.cgroup.directory)
        fixture.spawner.stop()
        #expect(throws: KernelError.self) {
            _ = try fixture.spawner.spawn(fixture.request, cgroupDirectory: fixture.cgroup.directory)
        }
    }
}

enum NetlinkDescriptorProbe {
    static func domain(of descriptor: borrowing FileDescriptor) throws(KernelError) -> Int32 {
        var domain: Int32 = 0
        var size = socklen_t(MemoryLayout<Int32>.size)
        if getsockopt(descriptor.raw, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0 {
            throw KernelError(call: "getsockopt(SO_DOMAIN)", errno: errno)
        }
        return domain
    }
}

@Suite struct SpawnerMessageTests {
    private func execMessage(_ arguments: [String], _ environment: [String: String] = [:], seccomp: [UInt8] = [])
        throws(KernelError) -> [UInt8]
    {
        try InitChannel.execMessage(
            tag: 5, arguments: arguments, environment: environment, workingDirectory: "/", stdin: true,
            keepCapabilities: false, seccomp: seccomp, upperBytes: 0x0102, openFiles: 3, user: (1000, 100),
            processes: 7)
    }

    @Test func execIsLaidOutAsTheHeaderSays() throws {
        let bytes = try execMessage(["a"], ["K": "v"], seccomp: [9, 9, 9, 9, 9, 9, 9, 9])
        let head: [UInt8] = [1, 0, 17, 0, UInt8(bytes.count), 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0]
        let counts: [UInt8] = [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0]
        let limits: [UInt8] = [2, 1, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0]
        let user: [UInt8] = [0xe8, 3, 0, 0, 100, 0, 0, 0]
        let noTerminal: [UInt8] = [0, 0, 0, 0, 7, 0, 0, 0]
        #expect(
            bytes == head + counts + limits + user + noTerminal + [UInt8](repeating: 9, count: 8)
                + Array("a\0K=v\0/\0".utf8))
    }

    @Test func aTerminalTakesThePlaceOfStdin() throws {
        let bytes = try InitChannel.execMessage(
            tag: 5, arguments: ["a"], environment: [:], workingDirectory: "/", stdin: true, keepCapabilities: false,
            seccomp: [], upperBytes: 0, openFiles: 0, terminal: (0x0203, 80))
        #expect(bytes[16..<20] == [4, 0, 0, 0])
        #expect(bytes[56..<64] == [3, 2, 80, 0, 0, 0, 0, 0])
    }

    @Test func execRefusesWhatCannotBeSaid() {
        #expect(throws: KernelError.self) { _ = try execMessage([]) }
        #expect(throws: KernelError.self) { _ = try execMessage(["a\0b"]) }
        #expect(throws: KernelError.self) { _ = try execMessage(["a"], ["": "x"]) }
        #expect(throws: KernelError.self) { _ = try execMessage(["a"], ["x=y": "x"]) }
        let error = #expect(throws: KernelError.self) {
            _ = try execMessage(["a", String(repeating: "x", count: 600_000)])
        }
        #expect(error?.errno == E2BIG)
    }

    @Test func spawnRequestHasItsSize() throws {
        let request = SpawnRequest(
            uidBase: 65536, uidCount: 65536, upperBytes: 0, upperInodes: 0, hostname: "h", image: "/i",
            mounts: [.init(source: "/s", target: "/t", readOnly: true)])
        let bytes = try request.message(tag: 1)
        #expect(bytes.count == 12920)
        #expect(bytes[56] == UInt8(ascii: "h"))
        #expect(bytes[4472..<4474] == [UInt8(ascii: "/"), UInt8(ascii: "s")])
        #expect(bytes[4984] == 1)
    }

    private static func message(_ type: UInt8, size: Int, version: UInt8 = 1, stated: Int? = nil) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: size)
        if size > 4 { (bytes[0], bytes[2], bytes[4]) = (version, type, UInt8(stated ?? size)) }
        return bytes
    }

    @Test func takesSoundMessages() throws {
        guard case .hello = try InitChannel.decode(ReceivedMessage(Self.message(16, size: 16), [], named: "x")) else {
            Issue.record("no hello")
            return
        }
        guard case .exited = try InitChannel.decode(ReceivedMessage(Self.message(20, size: 48), [], named: "x")) else {
            Issue.record("no exit")
            return
        }
    }

    @Test(arguments: [
        message(16, size: 8), message(16, size: 17), message(16, size: 16, version: 2),
        message(16, size: 16, stated: 20), message(18, size: 24), message(20, size: 40), message(17, size: 48),
        message(99, size: 16), message(19, size: 16), [],
    ])
    func refusesMalformedMessages(bytes: [UInt8]) {
        #expect(throws: KernelError.self) {
            _ = try InitChannel.decode(ReceivedMessage(bytes, [], named: "x"))
        }
    }
}
