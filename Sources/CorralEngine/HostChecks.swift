internal import CorralKernel
internal import CorralPolicy
internal import Glibc

/// What `corral doctor` looks at. Blocks; for a work queue.
struct HostChecks: Sendable {
    let host: EngineHost
    let configuration: EngineConfiguration
    let statistics: EngineStatistics
    /// Name servers that the resolver asks.
    let servers: [DNSEndpoint]

    func all() -> [HostCheck] {
        kernel() + cgroups() + network() + state()
    }

    // MARK: Kernel

    private func kernel() -> [HostCheck] {
        [
            Self.release(HostFile.text("/proc/sys/kernel/osrelease")),
            HostCheck(
                feature: "BTF", answer: access("/sys/kernel/btf/vmlinux", R_OK) == 0 ? .yes : .no,
                detail: "/sys/kernel/btf/vmlinux", without: "no program can be loaded",
                remedy: "boot a kernel that was built with CONFIG_DEBUG_INFO_BTF", isNeeded: true),
            // corrald does not start without them.
            HostCheck(
                feature: "cgroup BPF and ring buffer", answer: .yes,
                detail: "programs are loaded; each sandbox's hooks have to refuse a probe before it is used",
                isNeeded: true),
            Self.jit(HostFile.text("/proc/sys/net/core/bpf_jit_enable")),
            Self.lsm(
                isEnforced: statistics.isLsmEnforced, absent: host.lsm.reason,
                active: HostFile.text("/sys/kernel/security/lsm")),
            Self.entropy(HostFile.text("/proc/sys/kernel/random/entropy_avail")),
            Self.clock(seconds: Int64(time(nil)), isSynchronised: Self.clockIsSynchronised),
        ]
    }

    static func release(_ text: String?) -> HostCheck {
        let parts = (text ?? "").split(separator: ".").map { Int($0.prefix { $0.isASCII && $0.isNumber }) }
        let answer: HostCheck.Answer
        if parts.count >= 2, let major = parts[0], let minor = parts[1] {
            answer = (major, minor) >= (6, 1) ? .yes : .no
        } else {
            answer = .couldNotTell
        }
        return HostCheck(
            feature: "Linux 6.1 or newer", answer: answer, detail: text ?? "release not readable",
            without: "Corral is not tested on older kernels", remedy: "boot a newer kernel", isNeeded: true)
    }

    static func jit(_ value: String?) -> HostCheck {
        HostCheck(
            feature: "BPF compiler", answer: value.map { $0 == "0" ? .no : .yes } ?? .couldNotTell,
            detail: "net.core.bpf_jit_enable is \(value ?? "not readable")",
            without: "programs are interpreted: each packet costs several times as much",
            remedy: "sysctl -w net.core.bpf_jit_enable=1")
    }

    /// `absent`: why; nil where the hooks were on when corrald began.
    static func lsm(isEnforced: Bool, absent: String?, active: String?) -> HostCheck {
        let list = active.map { "active: \($0)" } ?? "/sys/kernel/security is not mounted"
        return HostCheck(
            feature: "BPF LSM", answer: isEnforced ? .yes : .no,
            detail: isEnforced
                ? "lsm: enforced; a deliberate denial was refused just now"
                : "lsm: absent; \(absent ?? "the hooks were taken off since corrald began"); \(list)",
            without: "seccomp alone refuses what the profile refuses, and a new policy holds for later commands",
            remedy: absent == nil
                ? "restart corrald" : "boot with lsm=…,bpf: the list that is active now, and bpf at its end")
    }

    static func entropy(_ text: String?) -> HostCheck {
        let bits = text.flatMap { Int($0) }
        return HostCheck(
            feature: "random numbers", answer: bits.map { $0 >= 128 ? .yes : .no } ?? .couldNotTell,
            detail: bits.map { "\($0) bits of entropy" } ?? "entropy_avail not readable",
            without: "identifiers and API keys may wait for the kernel's generator at boot",
            remedy: "give a virtual machine a virtio-rng device")
    }

    private static var clockIsSynchronised: Bool? {
        // systemd-timesyncd and chronyd leave these; without either there is no telling.
        if access("/run/systemd/timesync/synchronized", F_OK) == 0 { return true }
        return access("/run/systemd/timesync", F_OK) == 0 ? false : nil
    }

    /// 2025 is before any build of this program.
    static func clock(seconds: Int64, isSynchronised: Bool?) -> HostCheck {
        let isPlausible = seconds >= 1_735_689_600
        let answer: HostCheck.Answer =
            !isPlausible ? .no : isSynchronised.map { $0 ? .yes : .no } ?? .couldNotTell
        return HostCheck(
            feature: "clock", answer: answer,
            detail: !isPlausible
                ? "it is before 2025"
                : isSynchronised.map { $0 ? "synchronised" : "not synchronised" } ?? "no sign of who sets it",
            without: "times in events and in the audit journal may be wrong, and API keys end early or late",
            remedy: "run systemd-timesyncd or chronyd")
    }

    // MARK: Cgroups

    private func cgroups() -> [HostCheck] {
        let hierarchy = host.provisioner.hierarchy
        let isPure = hierarchy.v1.isEmpty
        var checks = [
            HostCheck(
                feature: "cgroup v2 alone", answer: isPure ? .yes : .no,
                detail: isPure ? "all controllers are on v2" : "hybrid: limits go through v1 controllers",
                without: isPure ? nil : "nothing; limits cost more memory a sandbox",
                remedy: isPure ? nil : "boot with systemd.unified_cgroup_hierarchy=1")
        ]
        let available = Set(
            (HostFile.text(hierarchy.v2 + "/cgroup.controllers") ?? "").split(separator: " ").map(String.init))
        for controller in ["cpu", "memory", "pids"] {
            checks.append(
                Self.controller(controller, v1: hierarchy.v1[controller], isOnV2: available.contains(controller)))
        }
        let freeze = "\(hierarchy.v2)/corral/\(configuration.instance)/cgroup.freeze"
        checks.append(
            HostCheck(
                feature: "freezer", answer: access(freeze, W_OK) == 0 ? .yes : .no, detail: freeze,
                without: "sandboxes cannot be paused"))
        return checks
    }

    static func controller(_ name: String, v1: String?, isOnV2: Bool) -> HostCheck {
        HostCheck(
            feature: "\(name) controller", answer: isOnV2 || v1 != nil ? .yes : .no,
            detail: isOnV2 ? "on v2" : v1.map { "on v1, \($0)" } ?? "on neither hierarchy",
            without: "a sandbox with a limit of \(name) is refused",
            remedy: name == "memory" ? "boot with cgroup_enable=memory" : "boot a kernel that has it", isNeeded: true)
    }
}
