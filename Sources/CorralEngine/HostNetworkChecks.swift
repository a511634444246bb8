internal import CorralKernel
internal import CorralPolicy
internal import Glibc

extension HostChecks {
    func network() -> [HostCheck] {
        let instance = configuration.instance
        var checks = [
            Self.forwarding("IPv4", "net.ipv4.ip_forward", HostFile.text("/proc/sys/net/ipv4/ip_forward")),
            Self.forwarding(
                "IPv6", "net.ipv6.conf.all.forwarding", HostFile.text("/proc/sys/net/ipv6/conf/all/forwarding")),
            Self.reversePath(HostFile.text("/proc/sys/net/ipv4/conf/all/rp_filter")),
            Self.masquerade(instance, try? PoolNAT.isInstalled(instance: instance)),
            Self.conntrack(
                HostFile.text("/proc/sys/net/netfilter/nf_conntrack_count"),
                HostFile.text("/proc/sys/net/netfilter/nf_conntrack_max")),
            Self.addresses(try? host.provisioner.network.addresses(), pools: pools),
            Self.routes(
                ipv4: HostFile.lines("/proc/net/route"), ipv6: HostFile.lines("/proc/net/ipv6_route"), pools: pools),
            Self.packetSockets(HostFile.lines("/proc/net/packet")),
        ]
        if servers.isEmpty {
            checks.append(
                HostCheck(
                    feature: "name servers", answer: .no, detail: "none is known", without: "no name can be resolved",
                    remedy: "set dns-servers, or put one into /etc/resolv.conf"))
        }
        let answers = NameServerCheck.ask(servers)
        for (server, answer) in zip(servers, answers) {
            checks.append(
                HostCheck(
                    feature: "name server \(server)", answer: answer == nil ? .yes : .no,
                    detail: answer ?? "answers", without: "names are resolved more slowly, or not at all",
                    remedy: "set dns-servers to one that can be reached from this host"))
        }
        return checks
    }

    private var pools: [IPPrefix] { [configuration.subnet, configuration.subnet6] }

    static func forwarding(_ family: String, _ setting: String, _ value: String?) -> HostCheck {
        HostCheck(
            feature: "\(family) forwarding", answer: value.map { $0 == "0" ? .no : .yes } ?? .couldNotTell,
            detail: "\(setting) is \(value ?? "not readable")",
            without: "no \(family) traffic of a sandbox gets past the host", remedy: "sysctl -w \(setting)=1",
            isNeeded: true)
    }

    static func reversePath(_ value: String?) -> HostCheck {
        let words = ["0": "off", "1": "strict", "2": "loose"]
        return HostCheck(
            feature: "reverse path filter that lets answers in",
            answer: value.map { $0 == "1" ? .couldNotTell : .yes } ?? .couldNotTell,
            detail:
                "net.ipv4.conf.all.rp_filter is \(value.map { "\($0), \(words[$0] ?? "unknown")" } ?? "not readable")",
            without: "on a host with several ways out, answers that come by another one are dropped",
            remedy: "sysctl -w net.ipv4.conf.all.rp_filter=2, if this host has several ways out")
    }

    static func masquerade(_ instance: String, _ isThere: Bool?) -> HostCheck {
        HostCheck(
            feature: "nftables masquerade", answer: isThere.map { $0 ? .yes : .no } ?? .couldNotTell,
            detail: "table inet corral_\(instance) "
                + (isThere.map { $0 ? "is there" : "is gone" } ?? "could not be looked at"),
            without: "sandboxes reach nothing that has no route back to them",
            remedy: "restart corrald, and see what flushes the ruleset", isNeeded: true)
    }

    static func conntrack(_ count: String?, _ most: String?) -> HostCheck {
        guard let count = count.flatMap({ Int($0) }), let most = most.flatMap({ Int($0) }), most > 0 else {
            return HostCheck(
                feature: "room for connections", answer: .couldNotTell, detail: "conntrack's counts are not readable",
                without: "new connections of the whole host are dropped when the table is full")
        }
        return HostCheck(
            feature: "room for connections", answer: count / 9 < most / 10 ? .yes : .no,
            detail: "\(count) of \(most) tracked connections",
            without: "new connections of the whole host are dropped when the table is full",
            remedy: "sysctl -w net.netfilter.nf_conntrack_max=\(most * 4)")
    }

    /// Addresses of the host in a pool: whoever has them cannot be reached by sandboxes, or is taken for one.
    static func addresses(_ addresses: [IPPrefix]?, pools: [IPPrefix]) -> HostCheck {
        let clashing = addresses?.filter { address in pools.contains { $0.contains(address.address) } }
        return HostCheck(
            feature: "no address of the host in a sandbox subnet",
            answer: clashing.map { $0.isEmpty ? .yes : .no } ?? .couldNotTell,
            detail: clashing.map { $0.isEmpty ? "none" : $0.map(\.address.description).joined(separator: ", ") }
                ?? "the addresses could not be read",
            without: "a sandbox may get an address that the host has",
            remedy: "give corrald another --subnet or --subnet6", isNeeded: true)
    }

    /// Routes that lead elsewhere and overlap a pool. Sandboxes' own are those of `crl*`.
    static func routes(ipv4: [Substring]?, ipv6: [Substring]?, pools: [IPPrefix]) -> HostCheck {
        let routes = (ipv4 ?? []).dropFirst().compactMap(route4) + (ipv6 ?? []).compactMap(route6)
        let clashing = routes.filter { route in
            !route.interface.hasPrefix("crl") && route.interface != "lo" && route.prefix.length > 0
                && pools.contains { $0.contains(route.prefix) || route.prefix.contains($0) }
        }
        return HostCheck(
            feature: "no route of the host into a sandbox subnet",
            answer: !clashing.isEmpty ? .no : ipv4 == nil || ipv6 == nil ? .couldNotTell : .yes,
            detail: clashing.isEmpty
                ? "none" : clashing.map { "\($0.prefix) by \($0.interface)" }.joined(separator: ", "),
            without:
                "what lives there cannot be reached from sandboxes, nor from this host where a sandbox has its address",
            remedy: "give corrald a --subnet or --subnet6 that no route of this host covers")
    }

    struct Route: Equatable {
        var interface: String
        /// A /0 is the default route.
        var prefix: IPPrefix
    }

    /// `eth0 0000FEA9 00000000 0001 0 0 0 0000FFFF 0 0 0`: destination and mask in the byte order of the machine.
    static func route4(_ line: Substring) -> Route? {
        let fields = line.split(whereSeparator: \.isWhitespace)
        guard fields.count >= 8, let destination = UInt32(fields[1], radix: 16),
            let mask = UInt32(fields[7], radix: 16)
        else { return nil }
        let length = mask.nonzeroBitCount
        guard length > 0 else { return Route(interface: String(fields[0]), prefix: IPPrefix("::/0")!) }
        guard let prefix = IPPrefix("\(IPAddress(ipv4: UInt32(bigEndian: destination)))/\(length)") else { return nil }
        return Route(interface: String(fields[0]), prefix: prefix)
    }

    /// `20010db8… 40 … eth0`: destination, its length in hexadecimal, eight fields, interface.
    static func route6(_ line: Substring) -> Route? {
        let fields = line.split(whereSeparator: \.isWhitespace)
        guard fields.count >= 10, fields[0].count == 32, let high = UInt64(fields[0].prefix(16), radix: 16),
            let low = UInt64(fields[0].suffix(16), radix: 16), let length = Int(fields[1], radix: 16), length <= 128
        else { return nil }
        // IPv4 addresses stand in a /96 of their own here.
        guard let prefix = IPPrefix("\(IPAddress(high: high, low: low))/\(length)") else { return nil }
        return Route(interface: String(fields[9]), prefix: prefix)
    }

    /// `sk RefCnt Type Proto Iface R Rmem User Inode`; Proto in hexadecimal, Iface 0 for all.
    static func packetSockets(_ lines: [Substring]?) -> HostCheck {
        let protocols: [Substring: String] = ["0800": "IPv4", "86dd": "IPv6"]
        let found = lines?.dropFirst().compactMap { line -> String? in
            let fields = line.split(whereSeparator: \.isWhitespace)
            guard fields.count >= 9, fields[4] == "0", let name = protocols[fields[3].lowercased()[...]] else {
                return nil
            }
            return "\(name), inode \(fields[8])"
        }
        return HostCheck(
            feature: "no packet socket for one protocol on all interfaces",
            answer: found.map { $0.isEmpty ? .yes : .no } ?? .couldNotTell,
            detail: found.map { $0.isEmpty ? "none" : $0.joined(separator: "; ") }
                ?? "/proc/net/packet is not readable",
            without: "names are not resolved for sandboxes while it is open",
            remedy: "find the program by the inode (ss -0 -p) and bind it to its interface")
    }
}
