internal import CLinux
internal import CorralPolicy
internal import Glibc

/// The rtnetlink requests about one end of a veth pair.
struct VethLink {
    /// 0: known by name alone.
    let index: UInt32
    let name: String

    /// Both ends down, the peer in the namespace of `netns`. What creation ignores (alias, address generation) follows by
    /// `describe`, once the name is known to be ours.
    func create(mac: [UInt8], peer: String, peerMAC: [UInt8], netns: Int32) -> NetlinkMessage {
        link("RTM_NEWLINK", RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL) { message in
            message.attribute(IFLA_IFNAME, text: name)
            Self.hardware(mac, of: &message)
            message.nest(IFLA_LINKINFO) { message in
                message.attribute(IFLA_INFO_KIND, Array("veth".utf8))
                message.nest(IFLA_INFO_DATA) { message in
                    message.nest(VETH_INFO_PEER) { message in
                        Self.interface(index: 0, up: nil, of: &message)
                        message.attribute(IFLA_IFNAME, text: peer)
                        Self.hardware(peerMAC, of: &message)
                        message.attribute(IFLA_NET_NS_FD, number: netns)
                    }
                }
            }
        }
    }

    /// Asks for this link alone.
    func get() -> NetlinkMessage {
        link("RTM_GETLINK", RTM_GETLINK, 0) { message in
            if index == 0 { message.attribute(IFLA_IFNAME, text: name) }
            message.attribute(IFLA_EXT_MASK, number: UInt32(RTEXT_FILTER_SKIP_STATS))
        }
    }

    /// Sets the alias, and keeps the link from giving itself a link-local address.
    func describe(alias: String?) -> NetlinkMessage {
        link("RTM_SETLINK", RTM_SETLINK, 0) { message in
            if let alias { message.attribute(IFLA_IFALIAS, Array(alias.utf8)) }
            message.nest(IFLA_AF_SPEC) { message in
                message.nest(AF_INET6) { message in
                    message.attribute(IFLA_INET6_ADDR_GEN_MODE, number: UInt8(IN6_ADDR_GEN_MODE_NONE.rawValue))
                }
            }
        }
    }

    /// Up; `quiet` without ARP, neighbour discovery and multicast (so no group is joined or reported).
    func up(quiet: Bool) -> NetlinkMessage {
        link("RTM_SETLINK", RTM_SETLINK, 0, up: quiet) { _ in }
    }

    func assign(group: UInt32) -> NetlinkMessage {
        link("RTM_SETLINK", RTM_SETLINK, 0) { $0.attribute(IFLA_GROUP, number: group) }
    }

    func delete() -> NetlinkMessage {
        link("RTM_DELLINK", RTM_DELLINK, 0) { _ in }
    }

    /// Deletes all links of a group at the price of one.
    static func delete(group: UInt32) -> NetlinkMessage {
        VethLink(index: 0, name: "group \(group)").link("RTM_DELLINK", RTM_DELLINK, 0) {
            $0.attribute(IFLA_GROUP, number: group)
        }
    }

    static func list() -> NetlinkMessage {
        VethLink(index: 0, name: "").link("RTM_GETLINK", RTM_GETLINK, NLM_F_DUMP) {
            $0.attribute(IFLA_EXT_MASK, number: UInt32(RTEXT_FILTER_SKIP_STATS))
        }
    }

    /// A host address of this end, without duplicate address detection and without a route of its own.
    func address(_ address: IPAddress) -> NetlinkMessage {
        NetlinkMessage(
            "RTM_NEWADDR", type: RTM_NEWADDR, flags: NLM_F_CREATE | NLM_F_REPLACE, subject: "\(address) on \(name)"
        ) { message in
            message.append([address.family, UInt8(truncatingIfNeeded: address.wireBytes.count * 8), 0, 0])
            message.append(index)
            message.attribute(IFA_LOCAL, address.wireBytes)
            message.attribute(IFA_ADDRESS, address.wireBytes)
            message.attribute(IFA_FLAGS, number: UInt32(IFA_F_NODAD) | UInt32(IFA_F_NOPREFIXROUTE))
        }
    }

    func neighbour(_ address: IPAddress, mac: [UInt8]) -> NetlinkMessage {
        NetlinkMessage(
            "RTM_NEWNEIGH", type: RTM_NEWNEIGH, flags: NLM_F_CREATE | NLM_F_REPLACE, subject: "\(address) on \(name)"
        ) { message in
            message.append([address.family, 0, 0, 0])
            message.append(index)
            message.append(UInt16(NUD_PERMANENT))
            message.append([0, UInt8(RTN_UNICAST)])
            message.attribute(NDA_DST, address.wireBytes)
            message.attribute(NDA_LLADDR, mac)
        }
    }

    /// To one address that is directly behind this link.
    func route(to address: IPAddress) -> NetlinkMessage {
        route("\(address) dev \(name)", to: address, gateway: nil, family: address.family)
    }

    /// To everywhere by way of `gateway`, which no address of this end has to cover.
    func defaultRoute(by gateway: IPAddress) -> NetlinkMessage {
        route("default via \(gateway) dev \(name)", to: nil, gateway: gateway, family: gateway.family)
    }

    private func route(_ subject: String, to address: IPAddress?, gateway: IPAddress?, family: UInt8) -> NetlinkMessage
    {
        NetlinkMessage(
            "RTM_NEWROUTE", type: RTM_NEWROUTE, flags: NLM_F_CREATE | NLM_F_REPLACE, subject: subject
        ) { message in
            message.append([family, UInt8(truncatingIfNeeded: (address?.wireBytes.count ?? 0) * 8), 0, 0])
            let scope = gateway == nil && family == UInt8(AF_INET) ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE
            message.append([
                UInt8(RT_TABLE_MAIN.rawValue), UInt8(RTPROT_STATIC), UInt8(scope.rawValue), UInt8(RTN_UNICAST),
            ])
            message.append(gateway == nil ? 0 : UInt32(RTNH_F_ONLINK))
            if let address { message.attribute(RTA_DST.rawValue, address.wireBytes) }
            if let gateway { message.attribute(RTA_GATEWAY.rawValue, gateway.wireBytes) }
            message.attribute(RTA_OIF.rawValue, number: index)
        }
    }

    private func link(
        _ call: StaticString, _ type: some BinaryInteger, _ flags: some BinaryInteger, up: Bool? = nil,
        _ attributes: (inout NetlinkMessage) -> Void
    ) -> NetlinkMessage {
        NetlinkMessage(call, type: type, flags: flags, subject: name) { message in
            Self.interface(index: index, up: up, of: &message)
            attributes(&message)
        }
    }

    /// struct ifinfomsg. `up`: nil leaves the flags, true makes the link quiet as well.
    private static func interface(index: UInt32, up: Bool?, of message: inout NetlinkMessage) {
        message.append([UInt8(AF_UNSPEC), 0, 0, 0])
        message.append(index)
        let up32 = UInt32(IFF_UP)
        let noARP = UInt32(IFF_NOARP)
        let multicast = UInt32(IFF_MULTICAST)
        switch up {
        case nil:
            message.append(0 as UInt32)
            message.append(0 as UInt32)
        case false?:
            message.append(up32)
            message.append(up32)
        case true?:
            message.append(up32 | noARP)
            message.append(up32 | noARP | multicast)
        }
    }

    private static func hardware(_ mac: [UInt8], of message: inout NetlinkMessage) {
        message.attribute(IFLA_ADDRESS, mac)
        message.attribute(IFLA_MTU, number: 1500 as UInt32)
        message.attribute(IFLA_NUM_TX_QUEUES, number: 1 as UInt32)
        message.attribute(IFLA_NUM_RX_QUEUES, number: 1 as UInt32)
    }
}

extension IPAddress {
    /// 4 or 16 bytes, network order.
    var wireBytes: [UInt8] { ipv4 == nil ? networkBytes : Array(networkBytes.suffix(4)) }

    /// AF_INET or AF_INET6.
    var family: UInt8 { UInt8(ipv4 == nil ? AF_INET6 : AF_INET) }
}
