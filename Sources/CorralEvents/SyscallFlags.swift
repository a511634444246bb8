internal import CorralPolicy

/// Words for the bits and values of arguments. Source: the kernel's uapi headers.
enum SyscallFlags {
    struct Set: Sendable, Equatable {
        /// By which signatures name it.
        var word: String
        /// Bits that hold one value and not flags; 0 when all are flags, `.max` when none are.
        var valueMask: UInt64
        /// Values under the mask.
        var values: [(UInt64, String)]
        /// Those of several bits before those of fewer.
        var flags: [(UInt64, String)]
        /// Written when no bit is set.
        var zero: String

        static func == (a: Set, b: Set) -> Bool { a.word == b.word }
    }

    static let all: [Set] = [
        open, openFlags, at, access, whence, closeRange, rename, prot, map, clone, wait, family, socket, message, fcntl,
        epoll,
        clock, futex, rlimit,
    ]

    /// `O_RDONLY|O_CLOEXEC`, what has no name in hexadecimal.
    static func text(_ value: UInt64, _ set: Set, _ abi: SyscallABI) -> String {
        var set = set
        if set.word == "open" || set.word == "oflag", abi == .arm64 { set.flags = armOpenFlags }
        var parts: [String] = []
        var rest = value
        if set.valueMask != 0 {
            let chosen = value & set.valueMask
            if let name = set.values.first(where: { $0.0 == chosen })?.1 {
                parts.append(name)
                rest &= ~set.valueMask
            } else if chosen != 0 {
                parts.append("0x" + String(chosen, radix: 16))
                rest &= ~set.valueMask
            }
        }
        for (bits, name) in set.flags where rest & bits == bits {
            parts.append(name)
            rest &= ~bits
        }
        if rest != 0 { parts.append("0x" + String(rest, radix: 16)) }
        return parts.isEmpty ? set.zero : parts.joined(separator: "|")
    }

    private static func set(
        _ word: String, mask: UInt64 = 0, values: [(UInt64, String)] = [], flags: [(UInt64, String)] = [],
        zero: String = "0"
    ) -> Set {
        Set(word: word, valueMask: mask, values: values, flags: flags, zero: zero)
    }

    /// Names from 0 on; `-` for a value without one.
    private static func list(_ word: String, _ names: String) -> Set {
        let values = names.split(whereSeparator: \.isWhitespace).enumerated().filter { $0.1 != "-" }
            .map { (UInt64($0.0), String($0.1)) }
        return set(word, mask: .max, values: values)
    }

    static let open = set(
        "open", mask: 0o3, values: [(0, "O_RDONLY"), (1, "O_WRONLY"), (2, "O_RDWR")],
        flags: [
            (0o20200000, "O_TMPFILE"), (0o4010000, "O_SYNC"), (0o10000, "O_DSYNC"), (0o100, "O_CREAT"),
            (0o200, "O_EXCL"), (0o400, "O_NOCTTY"), (0o1000, "O_TRUNC"), (0o2000, "O_APPEND"),
            (0o4000, "O_NONBLOCK"), (0o20000, "O_ASYNC"), (0o40000, "O_DIRECT"), (0o100000, "O_LARGEFILE"),
            (0o200000, "O_DIRECTORY"), (0o400000, "O_NOFOLLOW"), (0o1000000, "O_NOATIME"), (0o2000000, "O_CLOEXEC"),
            (0o10000000, "O_PATH"),
        ])

    /// Of calls that make a descriptor without opening a file.
    static let openFlags = set("oflag", flags: open.flags)

    /// arch/arm64/include/uapi/asm/fcntl.h
    private static let armOpenFlags: [(UInt64, String)] = [
        (0o20040000, "O_TMPFILE"), (0o4010000, "O_SYNC"), (0o10000, "O_DSYNC"), (0o100, "O_CREAT"),
        (0o200, "O_EXCL"), (0o400, "O_NOCTTY"), (0o1000, "O_TRUNC"), (0o2000, "O_APPEND"), (0o4000, "O_NONBLOCK"),
        (0o20000, "O_ASYNC"), (0o200000, "O_DIRECT"), (0o400000, "O_LARGEFILE"), (0o40000, "O_DIRECTORY"),
        (0o100000, "O_NOFOLLOW"), (0o1000000, "O_NOATIME"), (0o2000000, "O_CLOEXEC"), (0o10000000, "O_PATH"),
    ]

    /// Whether these flags of open make a file, which then has a mode.
    static func makesFile(_ flags: UInt64) -> Bool { flags & 0o100 != 0 || flags & 0o20000000 != 0 }

    static let at = set(
        "at",
        flags: [
            (0x100, "AT_SYMLINK_NOFOLLOW"), (0x200, "AT_REMOVEDIR"), (0x400, "AT_SYMLINK_FOLLOW"),
            (0x800, "AT_NO_AUTOMOUNT"), (0x1000, "AT_EMPTY_PATH"), (0x2000, "AT_STATX_FORCE_SYNC"),
            (0x4000, "AT_STATX_DONT_SYNC"),
        ])
    static let access = set("access", flags: [(4, "R_OK"), (2, "W_OK"), (1, "X_OK")], zero: "F_OK")
    static let whence = list("whence", "SEEK_SET SEEK_CUR SEEK_END SEEK_DATA SEEK_HOLE")
    static let closeRange = set("closerange", flags: [(2, "CLOSE_RANGE_UNSHARE"), (4, "CLOSE_RANGE_CLOEXEC")])
    static let rename = set("rename", flags: [(1, "RENAME_NOREPLACE"), (2, "RENAME_EXCHANGE"), (4, "RENAME_WHITEOUT")])
    static let prot = set(
        "prot",
        flags: [
            (1, "PROT_READ"), (2, "PROT_WRITE"), (4, "PROT_EXEC"), (0x100_0000, "PROT_GROWSDOWN"),
            (0x200_0000, "PROT_GROWSUP"),
        ], zero: "PROT_NONE")
    static let map = set(
        "map", mask: 0xf, values: [(1, "MAP_SHARED"), (2, "MAP_PRIVATE"), (3, "MAP_SHARED_VALIDATE")],
        flags: [
            (0x10, "MAP_FIXED"), (0x20, "MAP_ANONYMOUS"), (0x40, "MAP_32BIT"), (0x100, "MAP_GROWSDOWN"),
            (0x800, "MAP_DENYWRITE"), (0x1000, "MAP_EXECUTABLE"), (0x2000, "MAP_LOCKED"), (0x4000, "MAP_NORESERVE"),
            (0x8000, "MAP_POPULATE"), (0x10000, "MAP_NONBLOCK"), (0x20000, "MAP_STACK"), (0x40000, "MAP_HUGETLB"),
            (0x80000, "MAP_SYNC"), (0x100000, "MAP_FIXED_NOREPLACE"),
        ])
    static let clone = Set(
        word: "clone", valueMask: 0xff, values: (1...31).map { (UInt64($0), SignalNumber.name($0)) },
        flags: [
            (0x80, "CLONE_NEWTIME"), (0x100, "CLONE_VM"), (0x200, "CLONE_FS"), (0x400, "CLONE_FILES"),
            (0x800, "CLONE_SIGHAND"), (0x1000, "CLONE_PIDFD"), (0x2000, "CLONE_PTRACE"), (0x4000, "CLONE_VFORK"),
            (0x8000, "CLONE_PARENT"), (0x10000, "CLONE_THREAD"), (0x20000, "CLONE_NEWNS"), (0x40000, "CLONE_SYSVSEM"),
            (0x80000, "CLONE_SETTLS"), (0x100000, "CLONE_PARENT_SETTID"), (0x200000, "CLONE_CHILD_CLEARTID"),
            (0x400000, "CLONE_DETACHED"), (0x800000, "CLONE_UNTRACED"), (0x1000000, "CLONE_CHILD_SETTID"),
            (0x2000000, "CLONE_NEWCGROUP"), (0x4000000, "CLONE_NEWUTS"), (0x8000000, "CLONE_NEWIPC"),
            (0x1000_0000, "CLONE_NEWUSER"), (0x2000_0000, "CLONE_NEWPID"), (0x4000_0000, "CLONE_NEWNET"),
            (0x8000_0000, "CLONE_IO"), (0x1_0000_0000, "CLONE_CLEAR_SIGHAND"), (0x2_0000_0000, "CLONE_INTO_CGROUP"),
        ], zero: "0")
    static let wait = set(
        "wait",
        flags: [
            (1, "WNOHANG"), (2, "WSTOPPED"), (4, "WEXITED"), (8, "WCONTINUED"), (0x0100_0000, "WNOWAIT"),
            (0x2000_0000, "__WNOTHREAD"), (0x4000_0000, "__WALL"), (0x8000_0000, "__WCLONE"),
        ])
    static let family = set(
        "family", mask: .max,
        values: [
            (0, "AF_UNSPEC"), (1, "AF_UNIX"), (2, "AF_INET"), (10, "AF_INET6"), (16, "AF_NETLINK"), (17, "AF_PACKET"),
            (29, "AF_CAN"), (38, "AF_ALG"), (40, "AF_VSOCK"), (44, "AF_XDP"),
        ])
    static let socket = set(
        "sock", mask: 0xf,
        values: [
            (1, "SOCK_STREAM"), (2, "SOCK_DGRAM"), (3, "SOCK_RAW"), (4, "SOCK_RDM"), (5, "SOCK_SEQPACKET"),
            (6, "SOCK_DCCP"), (10, "SOCK_PACKET"),
        ], flags: [(0o4000, "SOCK_NONBLOCK"), (0o2000000, "SOCK_CLOEXEC")])
    static let message = set(
        "msg",
        flags: [
            (0x1, "MSG_OOB"), (0x2, "MSG_PEEK"), (0x4, "MSG_DONTROUTE"), (0x8, "MSG_CTRUNC"), (0x20, "MSG_TRUNC"),
            (0x40, "MSG_DONTWAIT"), (0x80, "MSG_EOR"), (0x100, "MSG_WAITALL"), (0x800, "MSG_CONFIRM"),
            (0x2000, "MSG_ERRQUEUE"), (0x4000, "MSG_NOSIGNAL"), (0x8000, "MSG_MORE"), (0x10000, "MSG_WAITFORONE"),
            (0x2000_0000, "MSG_FASTOPEN"), (0x4000_0000, "MSG_CMSG_CLOEXEC"),
        ])
    static let fcntl = set(
        "fcntl", mask: .max,
        values: [
            (0, "F_DUPFD"), (1, "F_GETFD"), (2, "F_SETFD"), (3, "F_GETFL"), (4, "F_SETFL"), (5, "F_GETLK"),
            (6, "F_SETLK"), (7, "F_SETLKW"), (8, "F_SETOWN"), (9, "F_GETOWN"), (36, "F_OFD_GETLK"),
            (37, "F_OFD_SETLK"), (38, "F_OFD_SETLKW"), (1024, "F_SETLEASE"), (1030, "F_DUPFD_CLOEXEC"),
            (1031, "F_SETPIPE_SZ"), (1032, "F_GETPIPE_SZ"), (1033, "F_ADD_SEALS"), (1034, "F_GET_SEALS"),
        ])
    static let epoll = list("epoll", "- EPOLL_CTL_ADD EPOLL_CTL_DEL EPOLL_CTL_MOD")
    static let clock = list(
        "clock",
        """
        CLOCK_REALTIME CLOCK_MONOTONIC CLOCK_PROCESS_CPUTIME_ID CLOCK_THREAD_CPUTIME_ID CLOCK_MONOTONIC_RAW
        CLOCK_REALTIME_COARSE CLOCK_MONOTONIC_COARSE CLOCK_BOOTTIME CLOCK_REALTIME_ALARM CLOCK_BOOTTIME_ALARM - CLOCK_TAI
        """)
    static let futex = set(
        "futex", mask: 0x7f,
        values: """
            FUTEX_WAIT FUTEX_WAKE FUTEX_FD FUTEX_REQUEUE FUTEX_CMP_REQUEUE FUTEX_WAKE_OP FUTEX_LOCK_PI FUTEX_UNLOCK_PI
            FUTEX_TRYLOCK_PI FUTEX_WAIT_BITSET FUTEX_WAKE_BITSET FUTEX_WAIT_REQUEUE_PI FUTEX_CMP_REQUEUE_PI FUTEX_LOCK_PI2
            """.split(whereSeparator: \.isWhitespace).enumerated().map { (UInt64($0.0), String($0.1)) },
        flags: [(0x80, "FUTEX_PRIVATE_FLAG"), (0x100, "FUTEX_CLOCK_REALTIME")])
    static let rlimit = list(
        "rlimit",
        """
        RLIMIT_CPU RLIMIT_FSIZE RLIMIT_DATA RLIMIT_STACK RLIMIT_CORE RLIMIT_RSS RLIMIT_NPROC RLIMIT_NOFILE
        RLIMIT_MEMLOCK RLIMIT_AS RLIMIT_LOCKS RLIMIT_SIGPENDING RLIMIT_MSGQUEUE RLIMIT_NICE RLIMIT_RTPRIO RLIMIT_RTTIME
        """)
}
