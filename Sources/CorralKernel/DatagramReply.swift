internal import CLinux
public import CorralPolicy
internal import Glibc

/// Sends UDP datagrams in the name of any address, which an ordinary socket would have to be bound to. Any thread may.
public final class DatagramReply: Sendable {
    private let ipv4: FileDescriptor
    private let ipv6: FileDescriptor

    /// In the network namespace of the calling thread.
    public init() throws(KernelError) {
        ipv4 = FileDescriptor(owning: try systemCall("socket(SOCK_RAW)") { corral_raw_socket(AF_INET) })
        ipv6 = FileDescriptor(owning: try systemCall("socket(SOCK_RAW)") { corral_raw_socket(AF_INET6) })
    }

    /// Does not wait: throws EAGAIN when the interface's queue is full, EMSGSIZE for what no packet holds. Both addresses
    /// of one family.
    public func send(
        _ payload: [UInt8], from source: (address: IPAddress, port: UInt16),
        to destination: (address: IPAddress, port: UInt16)
    ) throws(KernelError) {
        let packet = try Self.packet(payload, from: source, to: destination)
        let isIPv4 = destination.address.ipv4 != nil
        let socket = isIPv4 ? ipv4.raw : ipv6.raw
        let address = destination.address.wireBytes
        try systemCall("sendto", on: "\(destination.address)") {
            corral_send_packet(socket, isIPv4 ? AF_INET : AF_INET6, address, packet, packet.count)
        }
    }

    /// The whole packet. The kernel fills in the checksum of an IPv4 header; that of UDP covers the addresses.
    static func packet(
        _ payload: [UInt8], from source: (address: IPAddress, port: UInt16),
        to destination: (address: IPAddress, port: UInt16)
    ) throws(KernelError) -> [UInt8] {
        let isIPv4 = destination.address.ipv4 != nil
        guard (source.address.ipv4 != nil) == isIPv4, let length = UInt16(exactly: payload.count + 8),
            let total = UInt16(exactly: payload.count + 28)
        else { throw KernelError(call: "sendto", subject: "\(destination.address)", errno: EMSGSIZE) }
        let addresses = source.address.wireBytes + destination.address.wireBytes
        var datagram: [UInt8] = []
        datagram.appendNetwork(source.port)
        datagram.appendNetwork(destination.port)
        datagram.appendNetwork(length)
        datagram.appendNetwork(0)
        datagram += payload
        let checksum = Self.checksum(
            addresses + [0, 17, UInt8(length >> 8), UInt8(truncatingIfNeeded: length)], datagram)
        datagram[6] = UInt8(checksum >> 8)
        datagram[7] = UInt8(truncatingIfNeeded: checksum)
        var header: [UInt8]
        if isIPv4 {
            header = [0x45, 0]
            header.appendNetwork(total)
            header += [0, 0, 0, 0, 64, 17, 0, 0]
        } else {
            header = [0x60, 0, 0, 0]
            header.appendNetwork(length)
            header += [17, 64]
        }
        return header + addresses + datagram
    }

    /// RFC 1071; never 0, which says that there is none.
    private static func checksum(_ parts: [UInt8]...) -> UInt16 {
        var sum: UInt64 = 0
        for part in parts {
            for index in stride(from: 0, to: part.count, by: 2) {
                sum += UInt64(part[index]) << 8 | (index + 1 < part.count ? UInt64(part[index + 1]) : 0)
            }
        }
        while sum > 0xffff { sum = sum >> 16 + sum & 0xffff }
        let folded = ~UInt16(truncatingIfNeeded: sum)
        return folded == 0 ? 0xffff : folded
    }
}

extension [UInt8] {
    fileprivate mutating func appendNetwork(_ value: UInt16) {
        append(UInt8(value >> 8))
        append(UInt8(truncatingIfNeeded: value))
    }
}
