internal import CorralKernel
internal import CorralPolicy

/// Numbers that sandboxes live under, each with its addresses. A freed slot is taken again as late as possible.
struct SlotTable {
    private var free: [UInt32]
    private var nextFree = 0
    private let subnet: IPPrefix
    private let subnet6: IPPrefix

    /// The kernel's per-slot maps hold this many (CORRAL_MAX_SLOTS).
    private static let maximum = 16_384

    init(subnet: IPPrefix, subnet6: IPPrefix) {
        self.subnet = subnet
        self.subnet6 = subnet6
        let hostBits = min(128 - subnet.length, 16)
        free = (0..<UInt32(max(0, min(Self.maximum, (1 << hostBits) - 2)))).map { $0 }
        limit = free.count
    }

    /// Places that were given out, and how many there are.
    var used: Int { limit - (free.count - nextFree) }
    let limit: Int

    mutating func take() -> UInt32? {
        guard nextFree < free.count else { return nil }
        defer { nextFree += 1 }
        return free[nextFree]
    }

    /// They are given out no more until they are given back.
    mutating func reserve(_ taken: Set<UInt32>) {
        free = free[nextFree...].filter { !taken.contains($0) }
        nextFree = 0
    }

    mutating func give(back slot: UInt32) {
        free.append(slot)
        if nextFree > 4096 {
            free.removeFirst(nextFree)
            nextFree = 0
        }
    }

    func identity(slot: UInt32, epoch: UInt64) -> SandboxIdentity {
        let tail: [UInt8] = [UInt8(truncatingIfNeeded: slot >> 8), UInt8(truncatingIfNeeded: slot)]
        return SandboxIdentity(
            slot: slot, epoch: epoch,
            ipv4: IPAddress(high: subnet.address.high, low: subnet.address.low + UInt64(slot) + 1),
            ipv6: IPAddress(high: subnet6.address.high, low: subnet6.address.low + UInt64(slot) + 1),
            // Locally administered.
            mac: [0x02, 0xc0, 0x00, 0x00] + tail, gatewayMAC: [0x02, 0xc1, 0x00, 0x00] + tail
        )
    }
}
