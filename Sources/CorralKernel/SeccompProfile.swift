/// Which system calls a command may make, as data. What is not listed fails with EPERM; calls newer than
/// `newestCall` fail with ENOSYS, so that libraries fall back to what they did before the call existed.
struct SeccompProfile: Sendable {
    /// Allowed when the masked low 32 bits of every argument equal the value.
    struct Condition: Sendable {
        var argument: UInt32
        var mask: UInt32 = .max
        var value: UInt32
    }

    /// Allowed whatever their arguments.
    var allowed: [String]
    /// Allowed when all conditions of one of the alternatives hold.
    var conditional: [(call: String, alternatives: [[Condition]])]
    /// Fail with ENOSYS although known.
    var absent: [String]
    /// ioctl requests that fail with EPERM.
    var deniedRequests: [UInt32]
    /// Number of the newest call that the profile has an opinion on.
    var newestCall: UInt32
}

extension SeccompProfile {
    /// What interpreters, compilers, shells and package tools need. Left out, so refused: io_uring, bpf, userfaultfd,
    /// keyrings, kernel modules, kexec, mounts, new namespaces, ptrace and its relatives, perf events, handles of files,
    /// setting clocks, raw I/O ports, swap, accounting, quotas, memory placement.
    static let standard = SeccompProfile(
        allowed: files + memory + processes + timing + signalling + sockets,
        conditional: [
            // Without CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}.
            ("clone", [[.init(argument: 0, mask: 0x7E02_0000, value: 0)]]),
            (
                "socket",
                [
                    [.init(argument: 0, value: 1)],  // AF_UNIX
                    [.init(argument: 0, value: 2)],  // AF_INET
                    [.init(argument: 0, value: 10)],  // AF_INET6
                    [.init(argument: 0, value: 16), .init(argument: 2, value: 0)],  // AF_NETLINK, NETLINK_ROUTE
                ]
            ),
            ("socketpair", [[.init(argument: 0, value: 1)]]),
            // PER_LINUX and PER_LINUX32, each without and with UNAME26, and the query.
            ("personality", [0, 8, 0x20000, 0x20008, 0xFFFF_FFFF].map { [.init(argument: 0, value: $0)] }),
        ],
        // Its flags are behind a pointer; C libraries fall back to clone.
        absent: ["clone3"],
        // TIOCSTI and TIOCLINUX put input into a terminal.
        deniedRequests: [0x5412, 0x541C],
        newestCall: 450
    )

    private static let files = [
        "access", "chdir", "chmod", "chown", "close", "close_range", "copy_file_range", "creat", "dup", "dup2", "dup3",
        "epoll_create", "epoll_create1", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "eventfd",
        "eventfd2",
        "faccessat", "faccessat2", "fadvise64", "fallocate", "fchdir", "fchmod", "fchmodat", "fchown", "fchownat",
        "fcntl", "fdatasync", "fgetxattr", "flistxattr", "flock", "fremovexattr", "fsetxattr", "fstat", "fstatfs",
        "fsync", "ftruncate", "futimesat", "getcwd", "getdents", "getdents64", "getxattr", "inotify_add_watch",
        "inotify_init", "inotify_init1", "inotify_rm_watch", "io_cancel", "io_destroy", "io_getevents", "io_pgetevents",
        "io_setup", "io_submit", "ioctl", "lchown", "lgetxattr", "link", "linkat", "listxattr", "llistxattr",
        "lremovexattr", "lseek", "lsetxattr", "lstat", "mkdir", "mkdirat", "mknod", "mknodat", "newfstatat", "open",
        "openat", "openat2", "pipe", "pipe2", "poll", "ppoll", "pread64", "preadv", "preadv2", "pselect6", "pwrite64",
        "pwritev", "pwritev2", "read", "readahead", "readlink", "readlinkat", "readv", "removexattr", "rename",
        "renameat", "renameat2", "rmdir", "select", "sendfile", "setxattr", "splice", "stat", "statfs", "statx",
        "symlink", "symlinkat", "sync", "sync_file_range", "syncfs", "tee", "truncate", "umask", "unlink", "unlinkat",
        "utime", "utimensat", "utimes", "vmsplice", "write", "writev",
    ]

    private static let memory = [
        "brk", "get_mempolicy", "madvise", "membarrier", "memfd_create", "mincore", "mlock", "mlock2", "mlockall",
        "mmap",
        "mprotect", "mremap", "msync", "munlock", "munlockall", "munmap", "pkey_alloc", "pkey_free", "pkey_mprotect",
        "remap_file_pages", "shmat", "shmctl", "shmdt", "shmget",
    ]

    private static let processes = [
        "arch_prctl", "capget", "capset", "execve", "execveat", "exit", "exit_group", "fork", "get_robust_list",
        "get_thread_area", "getcpu", "getegid", "geteuid", "getgid", "getgroups", "getpgid", "getpgrp", "getpid",
        "getppid", "getpriority", "getrandom", "getresgid", "getresuid", "getrlimit", "getrusage", "getsid", "gettid",
        "getuid", "ioprio_get", "ioprio_set", "landlock_add_rule", "landlock_create_ruleset", "landlock_restrict_self",
        "pidfd_open", "prctl", "prlimit64", "rseq", "sched_get_priority_max", "sched_get_priority_min",
        "sched_getaffinity", "sched_getattr", "sched_getparam", "sched_getscheduler", "sched_rr_get_interval",
        "sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler", "sched_yield", "seccomp",
        "set_robust_list", "set_thread_area", "set_tid_address", "setfsgid", "setfsuid", "setgid", "setgroups",
        "setpgid", "setpriority", "setregid", "setresgid", "setresuid", "setreuid", "setrlimit", "setsid", "setuid",
        "sysinfo", "times", "uname", "vfork", "wait4", "waitid",
    ]

    private static let timing = [
        "alarm", "clock_getres", "clock_gettime", "clock_nanosleep", "getitimer", "gettimeofday", "nanosleep",
        "setitimer", "time", "timer_create", "timer_delete", "timer_getoverrun", "timer_gettime", "timer_settime",
        "timerfd_create", "timerfd_gettime", "timerfd_settime",
    ]

    private static let signalling = [
        "futex", "futex_waitv", "kill", "mq_getsetattr", "mq_notify", "mq_open", "mq_timedreceive", "mq_timedsend",
        "mq_unlink", "msgctl", "msgget", "msgrcv", "msgsnd", "pause", "pidfd_send_signal", "restart_syscall",
        "rt_sigaction", "rt_sigpending", "rt_sigprocmask", "rt_sigqueueinfo", "rt_sigreturn", "rt_sigsuspend",
        "rt_sigtimedwait", "rt_tgsigqueueinfo", "semctl", "semget", "semop", "semtimedop", "sigaltstack", "signalfd",
        "signalfd4", "tgkill", "tkill",
    ]

    private static let sockets = [
        "accept", "accept4", "bind", "connect", "getpeername", "getsockname", "getsockopt", "listen", "recvfrom",
        "recvmmsg", "recvmsg", "sendmmsg", "sendmsg", "sendto", "setsockopt", "shutdown",
    ]
}
