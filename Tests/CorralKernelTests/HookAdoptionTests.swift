import CLinux
import CorralABI
import Glibc
import Testing

@testable import CorralKernel

/// What a daemon finds that comes after one that was killed.
@Suite(.serialized, .enabled(if: Kernel.isAvailable, "needs root and a writable cgroup v2"))
struct HookAdoptionTests {
    @Test func mapsAreTakenOverAndProgramsRenewed() throws {
        let fixture = try SandboxFixture(named: "adopt")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        #expect(!fixture.programs.isAdopted)
        try fixture.runProbe()
        #expect(fixture.hooks.nextSequence(of: 5) == 1)

        let programs = try BpfPrograms(directory: fixture.programs.directory)
        #expect(programs.isAdopted)
        let hooks = try SandboxHooks(programs: programs)
        #expect(hooks.pinnedSandboxes() == ["one"])
        #expect(hooks.nextSequence(of: 5) == 2)
        let occupant = try #require(try hooks.occupant(of: 5))
        #expect(occupant.epoch == 9 && occupant.ifindex == fixture.ifindex)
        #expect(try hooks.occupant(of: 6) == nil)
        #expect(try hooks.policy(of: 5, namePorts: [2: 3]).number == 1)
        #expect(try hooks.policy(of: 5, namePorts: [2: 3]).namePorts == [2: 3])
        #expect(throws: KernelError.self) { try hooks.policy(of: 6, namePorts: [:]) }

        // The earlier programs are still the ones that run.
        #expect(throws: KernelError.self) {
            try hooks.verify(name: "one", cgroup: fixture.cgroup.directory, ifindex: fixture.ifindex)
        }
        try hooks.renew(name: "one", ifindex: fixture.ifindex)
        try hooks.verify(name: "one", cgroup: fixture.cgroup.directory, ifindex: fixture.ifindex)
        try hooks.probe(
            fixture.identity, name: "one", ifindex: fixture.ifindex, with: fixture.probe, network: fixture.network)
    }

    @Test func aSandboxWithoutAHookIsNotRenewed() throws {
        let fixture = try SandboxFixture(named: "adopt")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        unlink("\(fixture.programs.directory)/sandboxes/one/connect6")
        let hooks = try SandboxHooks(programs: BpfPrograms(directory: fixture.programs.directory))
        let error = #expect(throws: KernelError.self) { try hooks.renew(name: "one", ifindex: fixture.ifindex) }
        #expect(error?.errno == ENOENT && error?.subject.hasSuffix("connect6") == true)
    }

    @Test func theCgroupOfAnEarlierDaemonIsFound() throws {
        let fixture = try SandboxFixture(named: "adopt")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let found = try SandboxCgroup.open(hierarchy: fixture.hierarchy, instance: fixture.instance, id: "one")
        #expect(found.id == fixture.cgroup.id && found.path == fixture.cgroup.path && found.isPopulated)
        #expect(throws: KernelError.self) {
            try SandboxCgroup.open(hierarchy: fixture.hierarchy, instance: fixture.instance, id: "two")
        }
    }

    @Test func mapsOfAnotherVersionAreLeftAlone() throws {
        let fixture = try SandboxFixture(named: "adopt")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        var (key, version): (UInt32, UInt32) = (0, CORRAL_ABI_VERSION + 1)
        #expect(bpf_map_update_elem(try fixture.programs.map("abi"), &key, &version, 0) == 0)
        let error = #expect(throws: KernelError.self) { try BpfPrograms(directory: fixture.programs.directory) }
        #expect(error?.errno == EEXIST && error?.detail?.contains("version \(CORRAL_ABI_VERSION + 1)") == true)
        try fixture.verify()
    }

    @Test func mapsThatAreNotAllThereAreLeftAlone() throws {
        let fixture = try SandboxFixture(named: "adopt")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        unlink("\(fixture.programs.directory)/maps/flows")
        let error = #expect(throws: KernelError.self) { try BpfPrograms(directory: fixture.programs.directory) }
        #expect(error?.errno == EEXIST && error?.subject.hasSuffix("/flows") == true)
        try fixture.verify()
    }

    @Test func aMapOfAnotherLayoutIsLeftAlone() throws {
        let fixture = try SandboxFixture(named: "adopt")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let path = "\(fixture.programs.directory)/maps/published"
        unlink(path)
        var options = bpf_map_create_opts()
        options.sz = MemoryLayout<bpf_map_create_opts>.size
        let other = bpf_map_create(BPF_MAP_TYPE_HASH, "published", 8, 1, 16, &options)
        defer { close(other) }
        #expect(other >= 0 && bpf_obj_pin(other, path) == 0)
        let error = #expect(throws: KernelError.self) { try BpfPrograms(directory: fixture.programs.directory) }
        #expect(error?.errno == EEXIST && error?.subject == path)
    }
}
