internal import CorralPolicy
internal import Glibc
internal import NIOCore

/// The address and port of a name server, outside or ours.
struct DNSEndpoint: Sendable, Hashable {
    static let port: UInt16 = 53

    var address: IPAddress
    /// Interface that a link-local address is on.
    var zone: String?
    var port: UInt16

    init(_ address: IPAddress, port: UInt16 = Self.port, zone: String? = nil) {
        self.address = address
        self.port = port
        self.zone = zone
    }
}

extension DNSEndpoint: LosslessStringConvertible {
    /// `9.9.9.9`, `9.9.9.9:5353`, `2620:fe::fe`, `[2620:fe::fe]:53`, `fe80::1%eth0`; nil for anything else.
    init?(_ text: String) {
        var host = text[...]
        var port = Self.port
        func number(_ text: Substring) -> UInt16? {
            guard (1...5).contains(text.utf8.count), text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
                let number = UInt16(text), number > 0
            else { return nil }
            return number
        }
        if host.hasPrefix("["), let bracket = host.firstIndex(of: "]") {
            let behind = host[host.index(after: bracket)...]
            host = host[host.index(after: host.startIndex)..<bracket]
            guard host.contains(":") else { return nil }
            if !behind.isEmpty {
                guard behind.first == ":", let written = number(behind.dropFirst()) else { return nil }
                port = written
            }
        } else if let colon = host.firstIndex(of: ":"), host.lastIndex(of: ":") == colon {
            guard let written = number(host[host.index(after: colon)...]) else { return nil }
            port = written
            host = host[..<colon]
        }
        var zone: String?
        if let percent = host.firstIndex(of: "%") {
            let name = host[host.index(after: percent)...]
            // IFNAMSIZ, with its zero.
            guard (1...15).contains(name.utf8.count), host.contains(":") else { return nil }
            zone = String(name)
            host = host[..<percent]
        }
        guard let address = IPAddress(host) else { return nil }
        self.init(address, port: port, zone: zone)
    }

    var description: String {
        guard address.ipv4 == nil else { return "\(address):\(port)" }
        return "[\(address)\(zone.map { "%\($0)" } ?? "")]:\(port)"
    }
}

extension DNSEndpoint {
    /// Nil when the zone is no interface of this host.
    var socketAddress: SocketAddress? {
        guard let zone else { return try? SocketAddress(ipAddress: address.description, port: Int(port)) }
        guard if_nametoindex(zone) != 0 else { return nil }
        // Numeric: getaddrinfo asks nobody.
        return try? SocketAddress.makeAddressResolvingHost("\(address)%\(zone)", port: Int(port))
    }
}

extension SocketAddress {
    /// Nil for a Unix address. What is IPv4 within IPv6 is IPv4.
    var ip: IPAddress? {
        // Where the address stands in sockaddr_in and sockaddr_in6.
        let place: Range<Int>
        switch self {
        case .v4: place = 4..<8
        case .v6: place = 8..<24
        case .unixDomainSocket: return nil
        }
        return withSockAddr { address, size in
            let bytes = UnsafeRawBufferPointer(start: address, count: size)
            return bytes.count >= place.upperBound ? IPAddress(networkBytes: bytes[place]) : nil
        }
    }
}
