internal import CorralKernel
internal import Synchronization

/// A sandbox that nobody has used: parked, connected, behind the deny-all policy.
final class WarmSandbox: Sendable {
    let id: String
    let identity: SandboxIdentity
    let process: ProcessIdentity
    let ifindex: UInt32
    let interface: String
    let cgroup: SandboxCgroup
    let channel: InitChannel
    let refusals: RefusalLog
    /// What it was made from: the image's name, and where that was then.
    let image: String
    let layout: ImageLayout
    private let network = Mutex<NetworkNamespace?>(nil)

    var hostPid: Int32 { process.pid }

    init(
        id: String, identity: SandboxIdentity, process: ProcessIdentity, ifindex: UInt32, interface: String,
        cgroup: SandboxCgroup, channel: InitChannel, refusals: RefusalLog, image: String, layout: ImageLayout
    ) {
        self.id = id
        self.identity = identity
        self.process = process
        self.ifindex = ifindex
        self.interface = interface
        self.cgroup = cgroup
        self.channel = channel
        self.refusals = refusals
        self.image = image
        self.layout = layout
    }

    /// Keeps its network in being when its processes have ended, until `releaseNetwork`. The kernel would begin to take it apart
    /// at once, and everybody who starts a sandbox waits while it does; with others it takes no longer than alone.
    func holdNetwork() {
        network.withLock { network in
            if network == nil { network = try? NetworkNamespace(pid: hostPid) }
        }
    }

    func releaseNetwork() {
        network.withLock { $0 = nil }
    }
}
