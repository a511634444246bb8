import Glibc
import Testing

@testable import CorralKernel

@Suite struct CgroupTests {
    @Test func findsPureV2() throws {
        let hierarchy = try #require(
            CgroupHierarchy(
                mountinfo: """
                    21 1 8:1 / / rw - ext4 /dev/sda1 rw
                    29 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate
                    """))
        #expect(hierarchy == CgroupHierarchy(v2: "/sys/fs/cgroup", v1: [:]))
    }

    @Test func findsHybridWithSharedMountsAndEscapes() throws {
        let hierarchy = try #require(
            CgroupHierarchy(
                mountinfo: """
                    31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
                    32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
                    35 31 0:32 / /sys/fs/my\\040memory rw - cgroup cgroup rw,memory
                    40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd
                    41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
                    42 31 0:38 /part /srv/part rw - cgroup2 cgroup2 rw
                    """))
        #expect(
            hierarchy
                == CgroupHierarchy(
                    v2: "/sys/fs/cgroup/unified",
                    v1: ["cpu": "/sys/fs/cgroup/cpu,cpuacct", "memory": "/sys/fs/my memory"]))
    }

    @Test func withoutV2FindsNothing() {
        #expect(CgroupHierarchy(mountinfo: "32 31 0:29 / /c rw - cgroup cgroup rw,cpu\nnonsense\n") == nil)
    }

    @Test(arguments: ["", ".", "..", "a/b", ".hidden", "a b", "ä"])
    func refusesNamesThatAreNoComponent(name: String) {
        #expect(throws: KernelError.self) { try CgroupHierarchy.check(name, named: "id") }
    }

    @Test(arguments: ["sb-7k2m9x", "default", "a.b_c"])
    func takesOrdinaryNames(name: String) throws {
        try CgroupHierarchy.check(name, named: "id")
    }

    @Test func limitsBecomeSettingsOfBothVersions() {
        let limits = CgroupLimits(cpu: 1.5, memoryBytes: 1 << 20, pids: 7)
        #expect(limits.controllers == ["memory", "cpu", "pids"])
        #expect(limits.v2Settings("cpu") == [.init(file: "cpu.max", value: "150000 100000")])
        #expect(
            limits.v2Settings("memory") == [
                .init(file: "memory.max", value: "1048576"),
                .init(file: "memory.swap.max", value: "0", isOptional: true),
                .init(file: "memory.oom.group", value: "1"),
            ])
        #expect(limits.v1Settings("pids") == [.init(file: "pids.max", value: "39")])
        #expect(CgroupLimits().controllers.isEmpty)
        let shares = CgroupLimits(cpuWeight: 50)
        #expect(shares.controllers == ["cpu"])
        #expect(shares.v2Settings("cpu") == [.init(file: "cpu.weight", value: "50")])
        #expect(shares.v1Settings("cpu") == [.init(file: "cpu.shares", value: "512")])
        #expect(CgroupLimits(ioWrite: 1 << 20).controllers == ["io"])
    }

    @Test(arguments: [(-1.0, 1000), (.nan, 1000), (0.5, 50_000), (.infinity, 100_000_000_000)])
    func cpuQuotaIsNeverOutOfRange(cpu: Double, quota: Int) {
        #expect(CgroupLimits.cpuQuota(cpu) == quota)
    }

    @Test func readsEventCounts() {
        #expect(SandboxCgroup.value(of: "oom_kill", in: "oom 3\noom_kill 2\noom_group_kill 1\n") == 2)
        #expect(SandboxCgroup.value(of: "oom_kill", in: "oom 3\n") == 0)
    }

    @Test(.enabled(if: Kernel.isAvailable, "needs root and a writable cgroup v2"))
    func limitsMovesKillsAndRemoves() throws {
        let hierarchy = try CgroupHierarchy.detect()
        let instance = "test-\(getpid())-cgroup"
        defer { try? hierarchy.removeInstance(instance: instance) }
        let cgroup = try SandboxCgroup.create(hierarchy: hierarchy, instance: instance, id: "one")
        #expect(throws: KernelError.self) {
            _ = try SandboxCgroup.create(hierarchy: hierarchy, instance: instance, id: "one")
        }
        #expect(cgroup.id > 1)
        let child = try Kernel.startSleep()
        try CgroupFile.write("\(child)", to: "\(cgroup.path)/cgroup.procs")
        try cgroup.apply(CgroupLimits(cpu: 0.5, memoryBytes: 64 << 20, pids: 5), pid: child)
        let pids = hierarchy.v1["pids"].map { "\($0)/corral/\(instance)/one" } ?? cgroup.path
        #expect(try CgroupFile.read("\(pids)/pids.max") == "37\n")
        #expect(try CgroupFile.read("\(pids)/cgroup.procs") == "\(child)\n")
        #expect(cgroup.limitCounts(CgroupLimits(memoryBytes: 1)).oomKills == 0)
        try? cgroup.killAll()
        var status: Int32 = 0
        #expect(waitpid(child, &status, 0) == child)
        #expect(status == SIGKILL)
        try cgroup.remove()
        #expect(!CgroupFile.exists(cgroup.path))
        #expect(!CgroupFile.exists("\(pids)/pids.max"))
    }

    @Test(.enabled(if: Kernel.isAvailable, "needs root and a writable cgroup v2"))
    func leftoversOfOneInstanceGoAndOthersStay() throws {
        let hierarchy = try CgroupHierarchy.detect()
        let instance = "test-\(getpid())-left"
        let other = "test-\(getpid())-other"
        let child = try Kernel.startSleep()
        let left = try SandboxCgroup.create(hierarchy: hierarchy, instance: instance, id: "left")
        let kept = try SandboxCgroup.create(hierarchy: hierarchy, instance: other, id: "kept")
        try CgroupFile.write("\(child)", to: "\(left.path)/cgroup.procs")
        try left.apply(CgroupLimits(pids: 5), pid: child)
        // Removal does not depend on the parent having waited.
        try hierarchy.removeLeftovers(instance: instance)
        var status: Int32 = 0
        #expect(waitpid(child, &status, 0) == child)
        #expect(!CgroupFile.exists(left.path))
        #expect(CgroupFile.exists(kept.path))
        try kept.remove()
        for name in [instance, other] {
            try hierarchy.removeInstance(instance: name)
            #expect(!CgroupFile.exists("\(hierarchy.v2)/corral/\(name)"))
        }
    }
}

/// What the tests that need the kernel's cooperation share.
enum Kernel {
    static var isAvailable: Bool {
        if let required = getenv("CORRAL_REQUIRE_KERNEL"), String(cString: required) == "1" { return true }
        guard geteuid() == 0, let hierarchy = try? CgroupHierarchy.detect() else { return false }
        return access(hierarchy.v2, W_OK) == 0
    }

    static func startSleep() throws(KernelError) -> Int32 {
        var pid: pid_t = 0
        var arguments: [UnsafeMutablePointer<CChar>?] = [strdup("sleep"), strdup("60"), nil]
        defer { for argument in arguments { free(argument) } }
        let result = posix_spawn(&pid, "/usr/bin/sleep", nil, nil, &arguments, nil)
        if result != 0 { throw KernelError(call: "posix_spawn", subject: "sleep", errno: result) }
        return pid
    }
}
