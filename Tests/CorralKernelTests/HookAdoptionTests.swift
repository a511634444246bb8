import CLinux
import CorralABI
import CorralPolicy
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

    /// As an earlier version could have left it: a smaller table, whose values lack their last field.
    @Test func aMapThatHasGrownIsCarriedOver() throws {
        let fixture = try SandboxFixture(named: "adopt")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let path = "\(fixture.programs.directory)/maps/pins"
        unlink(path)
        let size = (key: MemoryLayout<corral_pin_key>.size, value: MemoryLayout<corral_pin>.size - 16)
        var options = bpf_map_create_opts()
        options.sz = MemoryLayout<bpf_map_create_opts>.size
        options.map_flags = UInt32(BPF_F_NO_PREALLOC)
        let earlier = bpf_map_create(
            BPF_MAP_TYPE_HASH, "pins", UInt32(size.key), UInt32(size.value), UInt32(CORRAL_MAX_PINS) / 2, &options)
        defer { close(earlier) }
        try #require(earlier >= 0 && bpf_obj_pin(earlier, path) == 0)
        let key = [UInt8](repeating: 7, count: size.key)
        #expect(bpf_map_update_elem(earlier, key, [UInt8](repeating: 9, count: size.value), 0) == 0)

        let programs = try BpfPrograms(directory: fixture.programs.directory)
        var found = [UInt8](repeating: 1, count: MemoryLayout<corral_pin>.size)
        #expect(bpf_map_lookup_elem(try programs.map("pins"), key, &found) == 0)
        #expect(found == [UInt8](repeating: 9, count: size.value) + [UInt8](repeating: 0, count: 16))
        // The earlier one stays in its place until every hook runs the new programs.
        #expect(try Self.layout(ofMapAt: path).valueSize == size.value)
        try programs.finishTakingOver()
        #expect(try Self.layout(ofMapAt: path).valueSize == found.count)
        #expect(try BpfPrograms(directory: fixture.programs.directory).isAdopted)
    }

    private static func layout(ofMapAt path: String) throws -> MapLayout {
        let pinned = FileDescriptor(owning: try systemCall("bpf_obj_get", on: path) { bpf_obj_get(path) })
        defer { withExtendedLifetime(pinned) {} }
        return try MapLayout(found: pinned.raw)
    }

    /// Version 1 had 17 reasons, and what is charged to no sandbox where this version has the next one.
    @Test func countsKeepTheirMeaning() throws {
        let fixture = try SandboxFixture(named: "adopt")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let (path, reasons) = ("\(fixture.programs.directory)/maps/verdicts", UInt32(17))
        unlink(path)
        var options = bpf_map_create_opts()
        options.sz = MemoryLayout<bpf_map_create_opts>.size
        let earlier = bpf_map_create(
            BPF_MAP_TYPE_PERCPU_ARRAY, "verdicts", 4, 8, reasons + 1, &options)
        defer { close(earlier) }
        try #require(earlier >= 0 && bpf_obj_pin(earlier, path) == 0)
        let processors = UInt64(libbpf_num_possible_cpus())
        for index in 0...reasons {
            let counts = [UInt64](repeating: UInt64(index) + 100, count: Int(processors))
            #expect(bpf_map_update_elem(earlier, [index], counts, 0) == 0)
        }
        let counts = try SandboxHooks(programs: BpfPrograms(directory: fixture.programs.directory)).verdictCounts()
        #expect(counts.uncharged == processors * 117)
        #expect(counts.byReason[.foreignSocket] == 0)
        #expect(counts.byReason[.syscallNotAllowed] == processors * 116)
        #expect(counts.byReason[.noPolicy] == processors * 100)
    }

    @Test func whatCannotBeCopiedIsRefused() throws {
        let fixture = try SandboxFixture(named: "adopt")
        defer { #expect(throws: Never.self) { try fixture.tearDown() } }
        let flows = try MapLayout(found: fixture.programs.map("flows"))
        #expect(flows.refusal(of: flows, named: "flows") == nil)
        func refusal(_ name: String = "flows", _ change: (inout MapLayout) -> Void) -> String? {
            var other = flows
            change(&other)
            return flows.refusal(of: other, named: name)
        }
        #expect(refusal { $0.maxEntries /= 2 } == nil && refusal { $0.valueSize -= 8 } == nil)
        #expect(refusal { $0.maxEntries *= 2 }?.contains("room for 524288 entries, here 262144") == true)
        #expect(refusal { $0.valueSize += 8 }?.contains("values of 24 bytes, here 16") == true)
        #expect(refusal { $0.keySize += 4 }?.contains("keys of 36 bytes, here 32") == true)
        #expect(refusal { $0.flags = 1 }?.contains("flags") == true)
        #expect(refusal { $0.type = 1 }?.contains("type 1") == true)
        #expect(refusal("counters") { $0.valueSize -= 8 } != nil && refusal("policies") { $0.maxEntries /= 2 } != nil)
    }
}
