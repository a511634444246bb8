import CLinux
import CorralPolicy
import Glibc
import Testing

@testable import CorralKernel

/// A parked sandbox with its hooks and its wire, in a network namespace that is the test's own. The thread that makes it
/// is in that namespace until `tearDown`.
final class SandboxFixture {
    let instance: String
    let hierarchy: CgroupHierarchy
    let programs: BpfPrograms
    let hooks: SandboxHooks
    let network: HostNetwork
    let spawner: Spawner
    let cgroup: SandboxCgroup
    let identity: SandboxIdentity
    let probe: ProbeMeans
    let ifindex: UInt32
    private let home: FileDescriptor
    private let root: String

    /// - Parameter withoutCall: a cgroup hook that is taken off before the sandbox's first process runs.
    init(
        policy: CompiledPolicy = .denyAll, withoutCall: String? = nil, named name: String = "probe"
    ) throws {
        instance = "test-\(getpid())-\(name)"
        home = try FileDescriptor.open("/proc/thread-self/ns/net", O_RDONLY)
        try systemCall("unshare") { corral_unshare_network() }
        hierarchy = try CgroupHierarchy.detect()
        try Bpffs.ensureMounted(at: "/sys/fs/bpf")
        programs = try BpfPrograms(directory: PinDirectory.make(instance))
        hooks = try SandboxHooks(programs: programs)
        network = try HostNetwork()
        spawner = try Spawner()
        cgroup = try SandboxCgroup.create(hierarchy: hierarchy, instance: instance, id: "one")
        identity = SandboxIdentity(
            slot: 5, epoch: 9, ipv4: IPAddress(ipv4: 0x0ae7_0006),
            ipv6: IPAddress(high: 0xfdc0_44a1_0231_0000, low: 6),
            mac: [2, 0xc0, 0, 0, 0, 5], gatewayMAC: [2, 0xc1, 0, 0, 0, 5])
        root = "/tmp/corral-\(instance)"
        mkdir(root, 0o755)
        for directory in Self.directories { mkdir("\(root)/\(directory)", 0o755) }

        try hooks.attach(
            identity, name: "one", cgroup: cgroup.directory, cgroupID: cgroup.id, policy: PolicyMap(policy, number: 1))
        if let withoutCall {
            unlink("\(programs.directory)/sandboxes/one/\(withoutCall)")
            let type = try #require(BpfPrograms.cgroupHooks.first { $0.name == withoutCall }?.type)
            let descriptor = cgroup.directory.raw
            try Self.waitUntilGone { corral_bpf_attached(descriptor, Int32(type), &$0, &$1) }
        }
        let spawned = try spawner.spawn(
            SpawnRequest(
                uidBase: 0x6000_0000, uidCount: 65536, upperBytes: 1 << 20, upperInodes: 1000, hostname: "one",
                image: root, mounts: []),
            cgroupDirectory: cgroup.directory)
        probe = spawned.probe
        let plan = NetworkPlan(
            interfaceName: "crlprobe", alias: "corral:\(instance):one", ipv4: identity.ipv4, ipv6: identity.ipv6,
            mac: identity.mac, gatewayMAC: identity.gatewayMAC)
        ifindex = try network.createLink(plan, netns: spawned.netns)
        try hooks.attach(identity, name: "one", ifindex: ifindex)
        try network.activate(plan, index: ifindex, inside: spawned.netlink)
    }

    private static let directories = ["proc", "sys", "dev"]

    func verify() throws(KernelError) {
        try hooks.verify(name: "one", cgroup: cgroup.directory, ifindex: ifindex)
    }

    func runProbe() throws(KernelError) {
        try hooks.probe(identity, name: "one", ifindex: ifindex, with: probe, network: network)
    }

    func takeOffVethHook(_ hook: String) throws {
        let words = ["tc", "filter", "del", "dev", "crlprobe", hook == "from_sandbox" ? "ingress" : "egress"]
        var arguments = words.map { strdup($0) } + [nil]
        defer { arguments.forEach { free($0) } }
        var child: pid_t = 0
        var status: Int32 = -1
        // It has this thread's network namespace.
        try #require(posix_spawnp(&child, "tc", nil, nil, &arguments, environ) == 0)
        try #require(waitpid(child, &status, 0) == child && status == 0)
    }

    /// The kernel detaches a link some time after its last pin is gone.
    private static func waitUntilGone(_ query: (inout UInt32, inout UInt32) -> Int32) throws {
        var count: UInt32 = 1
        var first: UInt32 = 0
        for _ in 0..<2000 {
            try #require(query(&count, &first) == 0)
            if count == 0 { return }
            usleep(1000)
        }
        Issue.record("the hook stays on")
    }

    func tearDown() throws {
        spawner.stop()
        try? cgroup.killAll()
        try network.remove(interfaces: [ifindex])
        hooks.detach([SandboxHooks.Occupancy(identity, name: "one", cgroupID: cgroup.id, ifindex: ifindex)])
        try cgroup.remove()
        try hierarchy.removeInstance(instance: instance)
        try PinDirectory.remove(instance)
        for directory in Self.directories + [""] { rmdir("\(root)/\(directory)") }
        let raw = home.raw
        try systemCall("setns") { corral_enter_network_namespace(raw) }
    }
}
