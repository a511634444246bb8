internal import Foundation
internal import Glibc

/// Whether the calling thread's network namespace passes packets on between its interfaces.
public enum Forwarding {
    /// Turns it on for both families. An interface that takes its IPv6 routes from router advertisements goes on doing so,
    /// which forwarding would otherwise stop.
    public static func enable() throws(KernelError) {
        try write("1", to: "/proc/sys/net/ipv4/ip_forward")
        let all = "/proc/sys/net/ipv6/conf/all/forwarding"
        guard try read(all) != "1" else { return }
        for interface in (try? FileManager.default.contentsOfDirectory(atPath: "/proc/sys/net/ipv6/conf")) ?? []
        where !["all", "default", "lo"].contains(interface) {
            let setting = "/proc/sys/net/ipv6/conf/\(interface)/accept_ra"
            // An interface may go away meanwhile.
            if (try? read(setting)) == "1" { try? write("2", to: setting) }
        }
        try write("1", to: all)
    }

    private static func read(_ path: String) throws(KernelError) -> String {
        let file = try FileDescriptor.open(path, O_RDONLY)
        let raw = file.raw
        var buffer = [UInt8](repeating: 0, count: 32)
        let count = try systemCall("read", on: path) { Glibc.read(raw, &buffer, buffer.count) }
        return String(decoding: buffer.prefix(count).prefix { $0 != 0x0a }, as: UTF8.self)
    }

    /// Leaves alone what is so already: /proc/sys may be read-only.
    private static func write(_ value: String, to path: String) throws(KernelError) {
        if try read(path) == value { return }
        let file = try FileDescriptor.open(path, O_WRONLY)
        let raw = file.raw
        let bytes = Array(value.utf8)
        try systemCall("write", on: path) { Glibc.write(raw, bytes, bytes.count) }
    }
}
