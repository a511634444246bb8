/// Ranges that mean something to every policy.
enum SpecialRanges {
    /// A range that only a rule inside it opens.
    struct Reserved: Sendable {
        var prefix: IPPrefix
        var name: String
    }

    /// In the order in which they are named to a person.
    static let reserved: [Reserved] = [
        table("169.254.169.254/32", "cloud metadata"),
        table("fd00:ec2::254/128", "cloud metadata"),
        table("100.100.100.200/32", "cloud metadata"),
        table("127.0.0.0/8", "loopback"),
        table("::1/128", "loopback"),
        table("169.254.0.0/16", "link-local"),
        table("fe80::/10", "link-local"),
        table("224.0.0.0/4", "multicast"),
        table("ff00::/8", "multicast"),
        table("255.255.255.255/32", "broadcast"),
        table("0.0.0.0/8", "unspecified"),
        table("::/96", "unspecified and IPv4-compatible"),
    ]

    static func reserved(for host: HostContext) -> [Reserved] {
        host.hostAddresses.map { Reserved(prefix: $0.judged, name: "the host itself") }
            + host.sandboxPools.map { Reserved(prefix: $0.judged, name: "the addresses of sandboxes") } + reserved
    }

    /// What `preset: internet` covers: global unicast, without every block that the IANA special-purpose registries
    /// (RFC 6890 and its updates) call not globally reachable. Sources: iana-ipv4-special-registry and
    /// iana-ipv6-special-registry.
    private static let notGlobal: [IPPrefix] = [
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24",
        "224.0.0.0/4", "240.0.0.0/4",
        "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
    ].compactMap { IPPrefix($0) }

    private static let global: [IPPrefix] = ["0.0.0.0/0", "2000::/3"].compactMap { IPPrefix($0) }

    static func isGlobalUnicast(_ address: IPAddress) -> Bool {
        global.contains { $0.contains(address) } && !notGlobal.contains { $0.contains(address) }
    }

    /// The preset as boundaries: inside the first, but not inside the second.
    static var internet: (inside: [IPPrefix], outside: [IPPrefix]) { (global, notGlobal) }

    /// Both arguments are constants of this file; a test reads every row.
    private static func table(_ prefix: String, _ name: String) -> Reserved {
        Reserved(prefix: IPPrefix(prefix) ?? IPPrefix(IPAddress(high: 0, low: 0), length: 0), name: name)
    }
}

extension IPAddress {
    /// Reachable on the internet, as `preset: internet` has it; NAT64 and 6to4 by the IPv4 address that they carry.
    public var isGlobalUnicast: Bool { SpecialRanges.isGlobalUnicast(judged) }
}

extension HostContext {
    /// The reserved range that holds an address, as a person reads it; nil for one that is not reserved.
    public func reservedRange(of address: IPAddress) -> String? {
        let judged = address.judged
        return SpecialRanges.reserved(for: self).first { $0.prefix.contains(judged) }.map {
            "\($0.name) (\($0.prefix))"
        }
    }
}
