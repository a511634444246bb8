internal import CorralEvents
internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// Limits on resources are kept by the kernel; here it is told that one has taken effect.
extension Engine {
    /// Processes of a sandbox whose policy sets no limit.
    static let defaultProcesses: UInt32 = 4096

    /// Sandboxes looked at in a second.
    private static let mostWatched = 512

    /// How often each limit was hit, as far as the kernel tells.
    struct LimitUse: Sendable {
        var counts: SandboxCgroup.LimitCounts
        /// Its layer for writes has no room now.
        var isDiskFull: Bool
    }

    /// Looks at the sandboxes in turn: what came and went between two looks, such as a disk that was full for a moment, is told only
    /// where the kernel counts it.
    func watchLimits() async {
        var looks: [(id: String, cgroup: SandboxCgroup, limits: CgroupLimits, pid: Int32)] = []
        let running = live.values.filter { if case .running = $0.state { true } else { false } }.sorted {
            $0.id < $1.id
        }
        guard !running.isEmpty else { return }
        for offset in 0..<min(running.count, Self.mostWatched) {
            let sandbox = running[(nextWatched + offset) % running.count]
            looks.append((sandbox.id, sandbox.warm.cgroup, sandbox.spec.limits.cgroup, sandbox.warm.hostPid))
        }
        nextWatched = (nextWatched + looks.count) % running.count
        let found = try? await watching.run { [looks] in
            looks.map { ($0.id, LimitUse(of: $0.cgroup, $0.limits, pid: $0.pid)) }
        }
        for (id, use) in found ?? [] {
            guard let sandbox = live[id], case .running = sandbox.state else { continue }
            report(use, of: sandbox, isLast: false)
            // The kernel has killed one process; half a sandbox is of no use to anybody.
            if use.counts.oomKills > 0, !sandbox.warm.cgroup.isKilledAsAUnit { end(sandbox, cause: .signalled) }
        }
    }

    /// What a sandbox that has ended came to.
    func reportLimits(of sandbox: LiveSandbox) {
        let limits = sandbox.spec.limits.cgroup
        guard !limits.isUnlimited else { return }
        let counts = sandbox.warm.cgroup.limitCounts(limits)
        report(LimitUse(counts: counts, isDiskFull: false), of: sandbox, isLast: true)
    }

    /// Each limit is told when it is first hit, and once more at the end when it was hit more often.
    private func report(_ use: LimitUse, of sandbox: LiveSandbox, isLast: Bool) {
        let limits = sandbox.spec.limits
        let pids = use.counts.pidsRefused > 0 ? use.counts.pidsRefused : use.counts.isFullOfProcesses ? 1 : 0
        let hits: [(LimitReached.Kind, count: UInt64, value: UInt64?, isCounted: Bool)] = [
            (.oom, use.counts.oomKills, limits.memoryBytes, true),
            (.pids, pids, limits.pids.map(UInt64.init), use.counts.pidsRefused > 0),
            (.disk, use.isDiskFull ? 1 : 0, limits.diskBytes ?? Provisioner.defaultDiskBytes, false),
            (.cpu, use.counts.cpuThrottled, limits.cpu.map { UInt64(max(0, min($0, 1e6)) * 1000) }, true),
        ]
        for hit in hits where hit.count > 0 {
            let told = sandbox.limitsReported[hit.0]
            guard told == nil || (isLast && hit.isCounted && hit.count > told ?? 0) else { continue }
            sandbox.limitsReported[hit.0] = hit.count
            emit(.limit(LimitReached(hit.0, value: hit.value, count: hit.isCounted ? hit.count : nil)), sandbox)
        }
    }
}

extension Engine.LimitUse {
    /// Less room than this is none.
    private static let leastRoom: UInt64 = 64 << 10

    fileprivate init(of cgroup: SandboxCgroup, _ limits: CgroupLimits, pid: Int32) {
        counts = limits.isUnlimited ? SandboxCgroup.LimitCounts() : cgroup.limitCounts(limits)
        var room = statvfs()
        // The overlay answers with what its upper layer has left.
        isDiskFull =
            statvfs("/proc/\(pid)/root", &room) == 0
            && (UInt64(room.f_bavail) &* UInt64(room.f_frsize) < Self.leastRoom || room.f_ffree == 0)
    }
}

extension SandboxSpec.Limits {
    /// Those that a cgroup keeps.
    var cgroup: CgroupLimits {
        CgroupLimits(
            cpu: cpu, cpuWeight: cpuWeight, memoryBytes: memoryBytes, pids: pids, ioRead: ioRead, ioWrite: ioWrite)
    }

    /// RLIMIT_NPROC of each command.
    var processes: UInt32 { pids ?? Engine.defaultProcesses }
}

extension CgroupLimits {
    var isUnlimited: Bool { self == CgroupLimits() }
}
