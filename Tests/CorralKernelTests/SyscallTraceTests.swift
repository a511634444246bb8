import CLinux
import CorralEvents
import CorralPolicy
import Glibc
import Synchronization
import Testing

@testable import CorralKernel

/// The real programs on calls that are made here, in cgroups of their own.
@Suite(.serialized, .enabled(if: VerdictTests.canRun, "needs root")) struct SyscallTraceTests {

    /// Events as they come, with what becomes of the reader in the meantime.
    private final class Collector: Sendable {
        private struct State {
            var events: [Event] = []
            var errors: [WireError] = []
        }

        private let state = Mutex(State())
        /// The reader waits while this is set.
        let isHeld = Atomic<Bool>(false)

        func receive(_ result: Result<WireTrace, WireError>) {
            while isHeld.load(ordering: .acquiring) { usleep(1000) }
            let context = DecisionContext(
                sandbox: SandboxReference(id: "sb-1", name: "one"), bootTime: 0, uidBase: 0, uidCount: 65536)
            state.withLock { state in
                switch result {
                case .success(let record):
                    var event = record.event(in: context)
                    event.sandbox?.name = "slot \(record.slot)"
                    state.events.append(event)
                case .failure(let error): state.errors.append(error)
                }
            }
        }

        var events: [Event] { state.withLock { $0.events } }
        var errors: [WireError] { state.withLock { $0.errors } }

        func events(of slot: UInt32) -> [Event] { events.filter { $0.sandbox?.name == "slot \(slot)" } }
        func calls(of slot: UInt32) -> [Syscall] { events(of: slot).compactMap(\.syscall) }
    }

    /// Programs, and cgroups in slots 1 and 2.
    private final class Bench {
        let instance = "trace-test-\(getpid())-\(Int.random(in: 0..<1_000_000))"
        let hooks: SandboxHooks
        let trace: SyscallTrace
        let collector = Collector()
        private let cgroups: [UInt32: SandboxCgroup]
        private let hierarchy: CgroupHierarchy

        init() throws {
            try Bpffs.ensureMounted(at: "/sys/fs/bpf")
            let programs = try BpfPrograms(directory: PinDirectory.make(instance))
            hooks = try SandboxHooks(programs: programs)
            hierarchy = try CgroupHierarchy.detect()
            var cgroups: [UInt32: SandboxCgroup] = [:]
            for slot: UInt32 in [1, 2] {
                let cgroup = try SandboxCgroup.create(hierarchy: hierarchy, instance: instance, id: "sb-\(slot)")
                cgroups[slot] = cgroup
                let identity = SandboxIdentity(
                    slot: slot, epoch: UInt64(slot) + 100, ipv4: try #require(IPAddress("10.213.0.4")),
                    ipv6: try #require(IPAddress("fdc0:44a1:213::4")), mac: [2, 0xc0, 0, 0, 0, 3],
                    gatewayMAC: [2, 0xc1, 0, 0, 0, 3])
                try hooks.write(identity, ifindex: 0)
                try hooks.learn(cgroupID: cgroup.id, slot: slot)
            }
            self.cgroups = cgroups
            let collector = collector
            trace = try SyscallTrace(programs: programs) { collector.receive($0) }
        }

        deinit {
            trace.close()
            for cgroup in cgroups.values { try? cgroup.remove() }
            try? hierarchy.removeInstance(instance: instance)
            try? PinDirectory.remove(instance)
        }

        func select(_ selection: TraceSelection, slot: UInt32) throws {
            try trace.select(selection, slot: slot, initPid: 0, cgroup: try #require(cgroups[slot]).id)
        }

        /// As counted.
        func calls(of slot: UInt32, _ name: String) -> UInt64? {
            trace.tally(of: slot)?.counts().first { $0.name == name }?.calls
        }

        /// Makes calls in the slot's cgroup; see `corral_workload`.
        func run(
            _ slot: UInt32, loops: UInt32 = 0, refusals: UInt32 = 0, filter: [UInt8]? = nil, code: Int32 = 7
        ) throws -> Int32 {
            let procs = try #require(cgroups[slot]).path + "/cgroup.procs"
            return procs.withCString { procs in
                "/etc/passwd".withCString { path in
                    "/nonexistent/\u{1b}[31mred".withCString { missing in
                        (filter ?? []).withUnsafeBytes { filter in
                            var workload = corral_workload()
                            workload.procs = procs
                            workload.path = path
                            workload.missing = missing
                            workload.filter = filter.isEmpty ? nil : filter.baseAddress
                            workload.filter_size = filter.count
                            workload.loops = loops
                            workload.refusals = refusals
                            workload.code = code
                            return corral_workload_run(&workload)
                        }
                    }
                }
            }
        }
    }

    @Test func aCallIsToldWithItsArgumentsAndItsResult() async throws {
        let bench = try Bench()
        try bench.select(.all, slot: 1)
        #expect(try bench.run(1, loops: 3) == 7)
        await bench.trace.settle()
        #expect(bench.collector.errors == [])
        let calls = bench.collector.calls(of: 1)
        let opened = try #require(calls.first { $0.name == "openat" && $0.arguments.contains("\"/etc/passwd\"") })
        #expect(opened.arguments == ["AT_FDCWD", "\"/etc/passwd\"", "O_RDONLY|O_CLOEXEC"])
        guard case .returned(let file) = opened.outcome else { return #expect(Bool(false), "\(opened.outcome)") }
        #expect(file >= 0)
        #expect(opened.duration ?? 0 > 0)
        let missing = try #require(calls.first { $0.arguments.contains { $0.contains("nonexistent") } })
        #expect(missing.error == "ENOENT")
        #expect(missing.arguments[1] == #""/nonexistent/\033[31mred""#)
        #expect(calls.filter { $0.name == "getppid" && $0.process.pid == 1 }.count == 3)
        let exit = try #require(calls.first { $0.name == "exit_group" && $0.process.pid == 1 })
        #expect(exit.outcome == .none)
        #expect(exit.arguments == ["7"])
        #expect(!calls.contains { $0.isRefused })
    }

    @Test func aCallThatSeccompRefusedIsToldAsSuch() async throws {
        let bench = try Bench()
        try bench.select(.calls(["add_key", "getppid"]), slot: 1)
        let filter = try SeccompProgram.compile(SyscallPolicy().resolved)
        #expect(try bench.run(1, loops: 4, refusals: 5, filter: filter) == 7)
        // Its twin: the same call, made and answered by the kernel itself.
        #expect(try bench.run(1, refusals: 6) == 7)
        await bench.trace.settle()
        let calls = bench.collector.calls(of: 1)
        #expect(calls.filter { $0.name == "add_key" && $0.outcome == .refused(Int64(-EPERM)) }.count == 5)
        #expect(calls.filter { $0.name == "add_key" && !$0.isRefused }.count == 6)
        #expect(calls.filter { $0.name == "getppid" && !$0.isRefused }.count == 4)
        let counts = try #require(bench.trace.tally(of: 1)).counts()
        let row = try #require(counts.first { $0.name == "add_key" })
        #expect(row.calls == 11 && row.refused == 5)
        #expect(counts.first { $0.name == "getppid" }?.refused == 0)
    }

    @Test func countsAreExactAndMakeNoEventsOfCalls() async throws {
        let bench = try Bench()
        try bench.select(.counts, slot: 1)
        #expect(try bench.run(1, loops: 20_000) == 7)
        #expect(try bench.run(1, loops: 345) == 7)
        await bench.trace.settle()
        let counts = try #require(bench.trace.tally(of: 1)).counts()
        let row = try #require(counts.first { $0.name == "getppid" })
        #expect(row.calls == 20_345)
        #expect(row.errors == 0)
        #expect(row.duration > 0)
        #expect(bench.collector.calls(of: 1).isEmpty)
    }

    @Test func theCallsOfTheListAreToldAndNoOthers() async throws {
        let bench = try Bench()
        try bench.select(.calls(["openat"]), slot: 1)
        #expect(try bench.run(1, loops: 100) == 7)
        await bench.trace.settle()
        #expect(Set(bench.collector.calls(of: 1).map(\.name)) == ["openat"])
        // Changed while it is traced; what was counted stays.
        try bench.select(.calls(["getppid"]), slot: 1)
        #expect(try bench.run(1, loops: 100) == 7)
        await bench.trace.settle()
        #expect(bench.collector.calls(of: 1).filter { $0.name == "getppid" }.count == 100)
        #expect(bench.calls(of: 1, "getppid") == 200)
    }

    @Test func theFirstOfEachThreadIsToldAndEveryRefusal() async throws {
        let bench = try Bench()
        try bench.select(.first, slot: 1)
        let filter = try SeccompProgram.compile(SyscallPolicy().resolved)
        #expect(try bench.run(1, loops: 100, refusals: 5, filter: filter) == 7)
        #expect(try bench.run(1, loops: 100, refusals: 6) == 7)
        await bench.trace.settle()
        var calls = bench.collector.calls(of: 1)
        #expect(calls.filter { $0.name == "getppid" && !$0.isRefused }.count == 2)
        #expect(calls.filter { $0.name == "openat" && $0.arguments.contains("\"/etc/passwd\"") }.count == 2)
        #expect(calls.filter { $0.name == "exit_group" && $0.process.pid == 1 }.count == 2)
        #expect(calls.filter { $0.name == "add_key" && $0.isRefused }.count == 5)
        #expect(calls.filter { $0.name == "add_key" && !$0.isRefused }.count == 1)
        #expect(bench.calls(of: 1, "getppid") == 200 && bench.calls(of: 1, "add_key") == 11)
        let told = calls.count
        // Another asks for every one of a call.
        try bench.select(TraceSelection.first.union(.calls(["getppid"])), slot: 1)
        #expect(try bench.run(1, loops: 100) == 7)
        await bench.trace.settle()
        calls = Array(bench.collector.calls(of: 1)[told...])
        #expect(calls.filter { $0.name == "getppid" }.count == 100)
        #expect(calls.filter { $0.name == "exit_group" && $0.process.pid == 1 }.count == 1)
    }

    @Test func aSandboxBesideATracedOneIsNotTraced() async throws {
        let bench = try Bench()
        #expect(!bench.trace.isAttached)
        try bench.select(.all, slot: 1)
        #expect(bench.trace.isAttached)
        #expect(try bench.run(2, loops: 1000) == 7)
        #expect(try bench.run(1, loops: 10) == 7)
        await bench.trace.settle()
        #expect(bench.collector.events(of: 2).isEmpty)
        #expect(bench.hooks.counters(of: 2).seq == 0)
        #expect(bench.collector.calls(of: 1).contains { $0.name == "getppid" })
        bench.trace.stop(1)
        #expect(!bench.trace.isAttached)
        let told = bench.collector.events.count
        #expect(try bench.run(1, loops: 10) == 7)
        await bench.trace.settle()
        #expect(bench.collector.events.count == told)
    }

    /// The reader stands still, so that the sandbox's share of the ring fills up.
    @Test func atSaturationWhatIsNotDeliveredIsLostExactly() async throws {
        let bench = try Bench()
        try bench.select(.calls(["getppid"]), slot: 1)
        try bench.select(.calls(["getppid"]), slot: 2)
        bench.collector.isHeld.store(true, ordering: .releasing)
        #expect(try bench.run(1, loops: 200_000) == 7)
        // Its neighbour's share is its own.
        #expect(try bench.run(2, loops: 1_000) == 7)
        bench.collector.isHeld.store(false, ordering: .releasing)
        await bench.trace.settle()
        // And the flooder's is free again.
        #expect(try bench.run(1, loops: 1_000) == 7)
        await bench.trace.settle()

        let counters = bench.hooks.counters(of: 1)
        let events = bench.collector.events(of: 1)
        #expect(counters.lost > 10_000)
        #expect(counters.seq == UInt64(events.count) + counters.lost)
        let numbers = Set(events.map(\.seq))
        #expect(numbers.count == events.count)
        #expect(numbers.allSatisfy { (1...counters.seq).contains($0) })
        // Beside the calls, what was told of processes.
        #expect((201_000...201_010).contains(counters.seq))
        #expect(bench.calls(of: 1, "getppid") == 201_000)
        #expect(bench.hooks.counters(of: 2).lost == 0)
        #expect(bench.collector.calls(of: 2).filter { $0.name == "getppid" }.count == 1_000)
    }

    @Test func withAReaderThatKeepsUpTheNumbersHaveNoGap() async throws {
        let bench = try Bench()
        try bench.select(.calls(["getppid"]), slot: 1)
        #expect(try bench.run(1, loops: 5_000) == 7)
        await bench.trace.settle()
        let counters = bench.hooks.counters(of: 1)
        #expect(counters.lost == 0)
        #expect(Set(bench.collector.events(of: 1).map(\.seq)) == Set(1...counters.seq))
    }

    @Test func processesAreToldFromForkToExit() async throws {
        let bench = try Bench()
        try bench.select(.counts, slot: 1)
        #expect(try bench.run(1, loops: 200_000, code: 9) == 9)
        await bench.trace.settle()
        let changes = bench.collector.events(of: 1).compactMap { event -> ProcessChange? in
            if case .process(let change) = event.body { change } else { nil }
        }
        let exit = try #require(changes.first { $0.process.pid == 1 && $0.action.name == "exit" })
        guard case .exit(let ending, let usage) = exit.action else { return #expect(Bool(false)) }
        #expect(ending == .code(9))
        #expect(usage.peakMemory > 0)
        #expect(usage.user + usage.system > 0)
    }

    @Test func everyNumberIsTheOneThatLibseccompKnows() {
        var compared = 0
        for (name, number) in SyscallTable.names(TraceRows.nativeABI) {
            let known = corral_seccomp_number(name)
            // Negative: not known to this version, or not of this architecture.
            guard known >= 0 else { continue }
            #expect(UInt32(known) == number, "\(name)")
            compared += 1
        }
        #expect(compared > 250)
    }
}
