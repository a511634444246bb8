internal import CLinux
internal import Glibc

/// Stopping and resuming all of a sandbox at once. The v2 hierarchy does this without a controller, on hybrid hosts too.
extension SandboxCgroup {
    private static let patience: UInt64 = 5_000_000_000

    /// Returns when no process in it runs any more; new ones that it makes do not. Blocks for up to five seconds, then throws
    /// ETIMEDOUT with everything running again: a process that waits for a device cannot be stopped meanwhile. What is
    /// frozen can be killed.
    public func freeze() throws(KernelError) {
        try CgroupFile.write("1", to: "\(path)/cgroup.freeze")
        let deadline = corral_boottime_ns() &+ Self.patience
        while true {
            let events = try CgroupFile.read("\(path)/cgroup.events")
            if Self.value(of: "frozen", in: events) == 1 { return }
            guard corral_boottime_ns() < deadline else {
                try thaw()
                throw KernelError(call: "cgroup.freeze", subject: path, errno: ETIMEDOUT)
            }
            usleep(500)
        }
    }

    /// Whether it was told to stop.
    public var isFrozen: Bool {
        (try? CgroupFile.read("\(path)/cgroup.freeze"))?.hasPrefix("1") ?? false
    }

    public func thaw() throws(KernelError) {
        try CgroupFile.write("0", to: "\(path)/cgroup.freeze")
    }
}
