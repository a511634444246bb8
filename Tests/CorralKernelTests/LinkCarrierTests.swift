import CLinux
import CorralPolicy
import Dispatch
import Glibc
import Synchronization
import Testing

@testable import CorralKernel

@Suite(.serialized) struct LinkCarrierTests {
    /// The kernel lets the host's end send only after its link watch has run: a first answer must not fall into that gap.
    @Test func theFirstPacketIntoASandboxArrives() async throws {
        let thread = OwnThread()
        defer { thread.stop() }
        // A task of that thread, so that what `#expect` records belongs to this test.
        try await Task(executorPreference: thread) { try Self.sendAtOnce(rounds: 20) }.value
    }

    private static func sendAtOnce(rounds: UInt8) throws {
        try systemCall("unshare") { corral_unshare_network() }
        let host = SharedDescriptor(try FileDescriptor.open("/proc/thread-self/ns/net", O_RDONLY))
        let network = try HostNetwork()
        let loopback = VethLink(index: 1, name: "lo")
        try NetlinkSocket(protocol: NETLINK_ROUTE).perform([
            loopback.up(quiet: false), loopback.address(IPAddress(ipv4: 0xcb00_7101)),
        ])
        var arrived = 0
        for slot in 1...rounds {
            try systemCall("unshare") { corral_unshare_network() }
            let inside = try FileDescriptor.open("/proc/thread-self/ns/net", O_RDONLY)
            let insideSocket = FileDescriptor(owning: try systemCall("socket") { corral_netlink_open(NETLINK_ROUTE) })
            let receiver = FileDescriptor(
                owning: try systemCall("socket") { socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0) })
            try systemCall("bind") {
                name(0, 5300).withUnsafeBytes {
                    bind(receiver.raw, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
                }
            }
            try systemCall("setns") { corral_enter_network_namespace(host.raw) }
            let sender = FileDescriptor(
                owning: try systemCall("socket") { socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0) })

            let address = 0x0a5f_0000 | UInt32(slot)
            let plan = NetworkPlan(
                interfaceName: "crlc\(slot)", alias: "corral:test:sb-\(slot)", ipv4: IPAddress(ipv4: address),
                ipv6: IPAddress(high: 0xfd5f << 48, low: UInt64(slot)), mac: [2, 0x63, 0x72, 0, 1, slot],
                gatewayMAC: [2, 0x63, 0x72, 1, 1, slot])
            let index = try network.createLink(plan, netns: inside)
            try network.activate(plan, index: index, inside: insideSocket)
            _ = name(address, 5300).withUnsafeBytes {
                sendto(
                    sender.raw, "x", 1, 0, $0.assumingMemoryBound(to: sockaddr.self).baseAddress, socklen_t($0.count))
            }
            if try systemCall("poll", { corral_wait_readable(receiver.raw, 3000) }) > 0 { arrived += 1 }
        }
        #expect(arrived == Int(rounds))
    }

    /// struct sockaddr_in; the address in host order.
    private static func name(_ address: UInt32, _ port: UInt16) -> [UInt8] {
        [UInt8(AF_INET), 0, UInt8(port >> 8), UInt8(port & 255)]
            + (0..<4).map { UInt8(truncatingIfNeeded: address >> UInt32(24 - $0 * 8)) }
            + [UInt8](repeating: 0, count: 8)
    }
}

/// Runs the jobs of one task on one thread, whose namespaces may be changed.
private final class OwnThread: TaskExecutor {
    private let jobs = Mutex<[UnownedJob]>([])
    private let stopped = Mutex(false)
    private let signal = DispatchSemaphore(value: 0)

    init() {
        var thread = pthread_t()
        let argument = Unmanaged.passRetained(self).toOpaque()
        pthread_create(
            &thread, nil,
            { argument in
                guard let argument else { return nil }
                Unmanaged<OwnThread>.fromOpaque(argument).takeRetainedValue().run()
                return nil
            }, argument)
        pthread_detach(thread)
    }

    func enqueue(_ job: consuming ExecutorJob) {
        let job = UnownedJob(job)
        jobs.withLock { $0.append(job) }
        signal.signal()
    }

    func stop() {
        stopped.withLock { $0 = true }
        signal.signal()
    }

    private func run() {
        while true {
            signal.wait()
            if let job = jobs.withLock({ $0.isEmpty ? nil : $0.removeFirst() }) {
                job.runSynchronously(on: asUnownedTaskExecutor())
            } else if stopped.withLock({ $0 }) {
                return
            }
        }
    }
}
