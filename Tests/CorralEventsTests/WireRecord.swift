import CorralABI

/// A `struct corral_event` built byte by byte, as the kernel would write it.
struct WireRecord {
    var bytes = [UInt8](repeating: 0, count: MemoryLayout<corral_event>.size)

    /// A denied connect4 to 203.0.113.9:443 by /usr/bin/curl.
    init() {
        set(\.version, UInt16(CORRAL_RECORD_VERSION))
        set(\.size, UInt16(MemoryLayout<corral_event>.size))
        set(\.type, UInt8(CORRAL_EVENT_EGRESS.rawValue))
        set(\.hook, UInt8(CORRAL_HOOK_CONNECT4.rawValue))
        set(\.verdict, UInt8(CORRAL_DENY.rawValue))
        set(\.reason, UInt8(CORRAL_REASON_NO_MATCHING_RULE.rawValue))
        set(\.time_ns, 1_000_000_007 as UInt64)
        set(\.seq, 42 as UInt64)
        set(\.epoch, 0x1_0000_0002 as UInt64)
        set(\.slot, 5 as UInt32)
        set(\.policy, 9 as UInt32)
        set(\.rule, UInt32(CORRAL_NO_RULE))
        set(\.port, 443 as UInt16)
        set(\.local_port, 40001 as UInt16)
        set(\.address, bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 203, 0, 113, 9])
        set(\.family, 4 as UInt8)
        set(\.protocol, 6 as UInt8)
        set(\.pid, 7 as UInt32)
        set(\.ppid, 1 as UInt32)
        set(\.host_pid, 4711 as UInt32)
        set(\.host_uid, 1_000_033 as UInt32)
        set(\.exec_count, 2 as UInt32)
        set(\.start_ns, 36 as UInt64)
        set(\.comm, bytes: Array("curl".utf8))
        set(\.exe, bytes: Array("curl\0bin\0usr\0".utf8))
    }

    static func offset(_ field: PartialKeyPath<corral_event>) -> Int {
        MemoryLayout<corral_event>.offset(of: field) ?? -1
    }

    mutating func set(_ field: PartialKeyPath<corral_event>, _ value: some FixedWidthInteger) {
        let offset = Self.offset(field)
        for index in 0..<(value.bitWidth / 8) {
            bytes[offset + index] = UInt8(truncatingIfNeeded: value.littleEndian >> (index * 8))
        }
    }

    mutating func set(_ field: PartialKeyPath<corral_event>, bytes new: [UInt8]) {
        let offset = Self.offset(field)
        bytes.replaceSubrange(offset..<offset + new.count, with: new)
    }

    /// Zeroes `count` bytes of a field before writing `new`.
    mutating func replace(_ field: PartialKeyPath<corral_event>, count: UInt32, bytes new: [UInt8]) {
        set(field, bytes: new + [UInt8](repeating: 0, count: Int(count) - new.count))
    }
}
