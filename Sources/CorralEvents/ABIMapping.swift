internal import CorralABI
public import CorralPolicy

// The numbers of bpf/abi/corral_abi.h and the values of this program, each way, in one place. Every switch is
// exhaustive over the Swift side; the tests walk all numbers of the C side.

/// A closed list whose cases the ABI numbers.
public protocol ABINumbered: CaseIterable {
    var abi: UInt8 { get }
}

extension ABINumbered {
    /// Nil for a number that the list does not have; `NONE`, where its enumeration has one, is such.
    public init?(abi number: UInt8) {
        guard let match = Self.allCases.first(where: { $0.abi == number }) else { return nil }
        self = match
    }
}

extension Verdict: ABINumbered {
    /// `enum corral_verdict`.
    public var abi: UInt8 {
        let value =
            switch self {
            case .deny: CORRAL_DENY
            case .allow: CORRAL_ALLOW
            case .wouldDeny: CORRAL_WOULD_DENY
            }
        return UInt8(truncatingIfNeeded: value.rawValue)
    }
}

extension Reason {
    /// Nil for a number that `enum corral_reason` does not have.
    public init?(abi number: UInt8) {
        guard let match = Self.byNumber[number] else { return nil }
        self = match
    }

    /// `enum corral_reason`.
    public var abi: UInt8 {
        let value =
            switch self {
            case .noPolicy: CORRAL_REASON_NO_POLICY
            case .allowedByRule: CORRAL_REASON_ALLOWED_BY_RULE
            case .noMatchingRule: CORRAL_REASON_NO_MATCHING_RULE
            case .deniedByRule: CORRAL_REASON_DENIED_BY_RULE
            case .reservedAddress: CORRAL_REASON_RESERVED_ADDRESS
            case .portNotAllowed: CORRAL_REASON_PORT_NOT_ALLOWED
            case .protocolNotAllowed: CORRAL_REASON_PROTOCOL_NOT_ALLOWED
            case .nameNotAllowed: CORRAL_REASON_NAME_NOT_ALLOWED
            case .nameNotResolvedHere: CORRAL_REASON_NAME_NOT_RESOLVED_HERE
            case .limitExhausted: CORRAL_REASON_LIMIT_EXHAUSTED
            case .spoofedSource: CORRAL_REASON_SPOOFED_SOURCE
            case .ipOptions: CORRAL_REASON_IP_OPTIONS
            case .extensionHeader: CORRAL_REASON_EXTENSION_HEADER
            case .fragment: CORRAL_REASON_FRAGMENT
            case .notIP: CORRAL_REASON_NOT_IP
            case .unsolicitedInbound: CORRAL_REASON_UNSOLICITED_INBOUND
            case .syscallNotAllowed: CORRAL_REASON_SYSCALL_NOT_ALLOWED
            case .foreignSocket: CORRAL_REASON_FOREIGN_SOCKET
            case .pathNotAllowed: CORRAL_REASON_PATH_NOT_ALLOWED
            }
        return UInt8(truncatingIfNeeded: value.rawValue)
    }

    private static let byNumber = Dictionary(uniqueKeysWithValues: allCases.map { ($0.abi, $0) })
}

extension Hook: ABINumbered {
    /// `enum corral_hook`.
    public var abi: UInt8 {
        let value =
            switch self {
            case .sockCreate: CORRAL_HOOK_SOCK_CREATE
            case .connect4: CORRAL_HOOK_CONNECT4
            case .connect6: CORRAL_HOOK_CONNECT6
            case .sendmsg4: CORRAL_HOOK_SENDMSG4
            case .sendmsg6: CORRAL_HOOK_SENDMSG6
            case .vethEgress: CORRAL_HOOK_VETH_EGRESS
            case .vethIngress: CORRAL_HOOK_VETH_INGRESS
            case .cgroupEgress: CORRAL_HOOK_CGROUP_EGRESS
            case .lsm: CORRAL_HOOK_LSM
            }
        return UInt8(truncatingIfNeeded: value.rawValue)
    }
}

extension KernelOperation: ABINumbered {
    /// `enum corral_operation`.
    public var abi: UInt8 {
        let value =
            switch self {
            case .mount: CORRAL_OPERATION_MOUNT
            case .ptrace: CORRAL_OPERATION_PTRACE
            case .bpf: CORRAL_OPERATION_BPF
            case .module: CORRAL_OPERATION_MODULE
            case .ioUring: CORRAL_OPERATION_IO_URING
            case .userNamespace: CORRAL_OPERATION_USER_NAMESPACE
            case .receive: CORRAL_OPERATION_RECEIVE
            }
        return UInt8(truncatingIfNeeded: value.rawValue)
    }

    /// `CORRAL_PERMITS` of it: its bit among those of a policy.
    public var permit: UInt8 { 1 << (abi - 1) }
}

extension FileAccess: ABINumbered {
    /// `enum corral_access`.
    public var abi: UInt8 {
        let value =
            switch self {
            case .exec: CORRAL_ACCESS_EXEC
            case .read: CORRAL_ACCESS_READ
            case .write: CORRAL_ACCESS_WRITE
            }
        return UInt8(truncatingIfNeeded: value.rawValue)
    }

    /// `CORRAL_POLICY_ACCESS` of it: its flag in a policy's META.
    public var flag: UInt32 { CORRAL_POLICY_EXEC.rawValue << (UInt32(abi) - 1) }
}

extension FileAction: ABINumbered {
    /// `enum corral_file_action`.
    public var abi: UInt8 {
        let value =
            switch self {
            case .exec: CORRAL_FILE_EXEC
            case .open: CORRAL_FILE_OPEN
            case .truncate: CORRAL_FILE_TRUNCATE
            case .create: CORRAL_FILE_CREATE
            case .mkdir: CORRAL_FILE_MKDIR
            case .rmdir: CORRAL_FILE_RMDIR
            case .unlink: CORRAL_FILE_UNLINK
            case .rename: CORRAL_FILE_RENAME
            case .link: CORRAL_FILE_LINK
            case .symlink: CORRAL_FILE_SYMLINK
            case .chmod: CORRAL_FILE_CHMOD
            case .chown: CORRAL_FILE_CHOWN
            }
        return UInt8(truncatingIfNeeded: value.rawValue)
    }
}

extension RuleReference {
    /// Nil for `CORRAL_NO_RULE`. Every other number is a rule.
    public init?(abi number: UInt32) {
        guard number != UInt32(CORRAL_NO_RULE) else { return nil }
        let isDeny = number & UInt32(CORRAL_RULE_DENY) != 0
        let index = Int(number & UInt32(CORRAL_RULE_INDEX))
        let list = (number & ~UInt32(CORRAL_RULE_DENY)) >> UInt32(CORRAL_RULE_ACCESS_SHIFT)
        if let access = FileAccess(abi: UInt8(truncatingIfNeeded: list)) {
            self = .path(PathRuleReference(access, isDeny: isDeny, index: index))
        } else {
            self = isDeny ? .deny(index) : .allow(index)
        }
    }

    /// The rule's number in policy values and events. An index past the largest that the ABI can name becomes that one.
    public var abi: UInt32 {
        switch self {
        case .allow(let index): Self.clamped(index)
        case .deny(let index): UInt32(CORRAL_RULE_DENY) | Self.clamped(index)
        case .path(let rule):
            (rule.isDeny ? UInt32(CORRAL_RULE_DENY) : 0)
                | UInt32(rule.access.abi) << UInt32(CORRAL_RULE_ACCESS_SHIFT) | Self.clamped(rule.index)
        }
    }

    /// `CORRAL_NO_RULE` for nil.
    public static func abi(of rule: RuleReference?) -> UInt32 {
        rule?.abi ?? UInt32(CORRAL_NO_RULE)
    }

    private static func clamped(_ index: Int) -> UInt32 {
        UInt32(clamping: min(max(index, 0), Int(CORRAL_RULE_INDEX)))
    }
}
