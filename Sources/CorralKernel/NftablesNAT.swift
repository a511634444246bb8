internal import CLinux
public import CorralPolicy
internal import Glibc

/// Source NAT for what leaves the sandboxes' address pools: the table `inet corral_<instance>` of the calling thread's
/// network namespace, which holds nothing else.
public enum PoolNAT {
    /// Makes the table, or replaces it in one transaction. Between sandboxes of the pool nothing is rewritten.
    public static func install(instance: String, pool4: IPPrefix, pool6: IPPrefix) throws(KernelError) {
        guard pool4.address.ipv4 != nil, pool4.length >= 96, pool6.address.ipv4 == nil else {
            throw KernelError(
                call: "NFT_MSG_NEWRULE", subject: table(instance), errno: EINVAL, detail: "malformed pool")
        }
        let name = table(instance)
        try commit([
            tableRequest("NFT_MSG_NEWTABLE", NFT_MSG_NEWTABLE, NLM_F_CREATE, name),
            tableRequest("NFT_MSG_DELTABLE", NFT_MSG_DELTABLE, 0, name),
            tableRequest("NFT_MSG_NEWTABLE", NFT_MSG_NEWTABLE, NLM_F_CREATE, name),
            chainRequest(name),
            masquerade(pool4, in: name),
            masquerade(pool6, in: name),
        ])
    }

    /// Removes the table if there is one.
    public static func remove(instance: String) throws(KernelError) {
        let name = table(instance)
        try commit([
            tableRequest("NFT_MSG_NEWTABLE", NFT_MSG_NEWTABLE, NLM_F_CREATE, name),
            tableRequest("NFT_MSG_DELTABLE", NFT_MSG_DELTABLE, 0, name),
        ])
    }

    /// Whether the instance's table is there. Somebody may have flushed the ruleset.
    public static func isInstalled(instance: String) throws(KernelError) -> Bool {
        let socket = try NetlinkSocket(protocol: NETLINK_NETFILTER)
        var isThere = true
        try socket.perform([tableRequest("NFT_MSG_GETTABLE", NFT_MSG_GETTABLE, 0, table(instance))]) { _, number in
            if number == ENOENT { isThere = false }
            return number == ENOENT
        }
        return isThere
    }

    private static let chain = "postrouting"
    // Of <linux/netfilter.h>, which clashes with glibc's headers.
    private static let acceptPolicy: UInt32 = 1
    private static let postRoutingHook: UInt32 = 4
    private static let familyInet: UInt8 = 1
    private static let familyIPv4: UInt8 = 2
    private static let familyIPv6: UInt8 = 10

    private static func table(_ instance: String) -> String { "corral_\(instance)" }

    private static func commit(_ requests: [NetlinkMessage]) throws(KernelError) {
        let socket = try NetlinkSocket(protocol: NETLINK_NETFILTER)
        func frame(_ name: StaticString, _ type: Int32) -> NetlinkMessage {
            NetlinkMessage(name, type: type, flags: 0, subject: "nftables") { message in
                header(family: UInt8(AF_UNSPEC), resource: UInt16(NFNL_SUBSYS_NFTABLES), of: &message)
            }
        }
        try socket.perform(
            requests, framedBy: frame("NFNL_MSG_BATCH_BEGIN", NFNL_MSG_BATCH_BEGIN),
            frame("NFNL_MSG_BATCH_END", NFNL_MSG_BATCH_END)
        )
    }

    /// struct nfgenmsg.
    private static func header(family: UInt8, resource: UInt16, of message: inout NetlinkMessage) {
        message.append([family, UInt8(NFNETLINK_V0)])
        message.append(resource.bigEndian)
    }

    private static func request(
        _ name: StaticString, _ type: nf_tables_msg_types, _ flags: Int32, _ table: String,
        _ attributes: (inout NetlinkMessage) -> Void
    ) -> NetlinkMessage {
        NetlinkMessage(
            name, type: UInt32(NFNL_SUBSYS_NFTABLES) << 8 | UInt32(type.rawValue), flags: flags, subject: table
        ) { message in
            header(family: familyInet, resource: 0, of: &message)
            attributes(&message)
        }
    }

    private static func tableRequest(
        _ name: StaticString, _ type: nf_tables_msg_types, _ flags: Int32, _ table: String
    ) -> NetlinkMessage {
        request(name, type, flags, table) { $0.attribute(NFTA_TABLE_NAME.rawValue, text: table) }
    }

    private static func chainRequest(_ table: String) -> NetlinkMessage {
        request("NFT_MSG_NEWCHAIN", NFT_MSG_NEWCHAIN, NLM_F_CREATE, table) { message in
            message.attribute(NFTA_CHAIN_TABLE.rawValue, text: table)
            message.attribute(NFTA_CHAIN_NAME.rawValue, text: chain)
            message.attribute(NFTA_CHAIN_TYPE.rawValue, text: "nat")
            message.attribute(NFTA_CHAIN_POLICY.rawValue, number: acceptPolicy.bigEndian)
            message.nested(NFTA_CHAIN_HOOK.rawValue) { message in
                message.attribute(NFTA_HOOK_HOOKNUM.rawValue, number: postRoutingHook.bigEndian)
                // Where nftables calls it srcnat.
                message.attribute(NFTA_HOOK_PRIORITY.rawValue, number: Int32(100).bigEndian)
            }
        }
    }

    /// `ip saddr POOL ip daddr != POOL masquerade`, or the same of ip6.
    private static func masquerade(_ pool: IPPrefix, in table: String) -> NetlinkMessage {
        let ipv4 = pool.address.ipv4 != nil
        let width = pool.address.wireBytes.count
        let all = IPAddress(high: .max, low: .max).masked(to: pool.length).networkBytes
        let mask = Array(all.suffix(width))
        return request("NFT_MSG_NEWRULE", NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, table) { message in
            message.attribute(NFTA_RULE_TABLE.rawValue, text: table)
            message.attribute(NFTA_RULE_CHAIN.rawValue, text: chain)
            message.nested(NFTA_RULE_EXPRESSIONS.rawValue) { message in
                message.expression("meta") { message in
                    message.attribute(NFTA_META_KEY.rawValue, number: UInt32(NFT_META_NFPROTO.rawValue).bigEndian)
                    message.attribute(NFTA_META_DREG.rawValue, number: UInt32(NFT_REG_1.rawValue).bigEndian)
                }
                message.compare(NFT_CMP_EQ, [ipv4 ? familyIPv4 : familyIPv6])
                // Offsets of the addresses in the two headers.
                for (offset, comparison) in [(ipv4 ? 12 : 8, NFT_CMP_EQ), (ipv4 ? 16 : 24, NFT_CMP_NEQ)] {
                    message.expression("payload") { message in
                        message.attribute(NFTA_PAYLOAD_DREG.rawValue, number: UInt32(NFT_REG_1.rawValue).bigEndian)
                        message.attribute(
                            NFTA_PAYLOAD_BASE.rawValue, number: UInt32(NFT_PAYLOAD_NETWORK_HEADER.rawValue).bigEndian
                        )
                        message.attribute(NFTA_PAYLOAD_OFFSET.rawValue, number: UInt32(offset).bigEndian)
                        message.attribute(NFTA_PAYLOAD_LEN.rawValue, number: UInt32(width).bigEndian)
                    }
                    message.expression("bitwise") { message in
                        message.attribute(NFTA_BITWISE_SREG.rawValue, number: UInt32(NFT_REG_1.rawValue).bigEndian)
                        message.attribute(NFTA_BITWISE_DREG.rawValue, number: UInt32(NFT_REG_1.rawValue).bigEndian)
                        message.attribute(NFTA_BITWISE_LEN.rawValue, number: UInt32(width).bigEndian)
                        message.nested(NFTA_BITWISE_MASK.rawValue) { $0.attribute(NFTA_DATA_VALUE.rawValue, mask) }
                        message.nested(NFTA_BITWISE_XOR.rawValue) {
                            $0.attribute(NFTA_DATA_VALUE.rawValue, [UInt8](repeating: 0, count: width))
                        }
                    }
                    message.compare(comparison, pool.address.wireBytes)
                }
                message.expression("masq") { _ in }
            }
        }
    }
}

extension NetlinkMessage {
    /// A nest marked as one, which nftables' own tools also do.
    fileprivate mutating func nested(_ type: some BinaryInteger, _ build: (inout NetlinkMessage) -> Void) {
        nest(UInt16(truncatingIfNeeded: type) | UInt16(NLA_F_NESTED), build)
    }

    /// One element of a rule.
    fileprivate mutating func expression(_ name: String, _ build: (inout NetlinkMessage) -> Void) {
        nested(NFTA_LIST_ELEM.rawValue) { message in
            message.attribute(NFTA_EXPR_NAME.rawValue, text: name)
            message.nested(NFTA_EXPR_DATA.rawValue, build)
        }
    }

    /// Ends the rule unless register 1 compares so with `bytes`.
    fileprivate mutating func compare(_ comparison: nft_cmp_ops, _ bytes: [UInt8]) {
        expression("cmp") { message in
            message.attribute(NFTA_CMP_SREG.rawValue, number: UInt32(NFT_REG_1.rawValue).bigEndian)
            message.attribute(NFTA_CMP_OP.rawValue, number: UInt32(comparison.rawValue).bigEndian)
            message.nested(NFTA_CMP_DATA.rawValue) { $0.attribute(NFTA_DATA_VALUE.rawValue, bytes) }
        }
    }
}
