/// System calls a sandbox's command may make: what is not named here is refused.
struct SeccompProfile: Sendable {
    /// A call permitted only where `(argument & mask) == value`, both on 64 bits.
    struct Condition: Sendable {
        var name: String
        var argument: UInt32
        var mask: UInt64
        var value: UInt64
    }

    /// Refused otherwise than by EPERM.
    struct Refusal: Sendable {
        var name: String
        var errno: UInt16
    }

    /// Names this libseccomp or architecture does not know are skipped: they cannot be called by name there either.
    var allowed: [String]
    var conditional: [Condition]
    var refused: [Refusal]

    /// Everything ordinary programs need, and none of: io_uring, bpf, userfaultfd, keyrings, modules, kexec, mounts, new
    /// namespaces, ptrace and process memory, perf, clocks, quotas, handles, port access, sockets but AF_UNIX, AF_INET,
    /// AF_INET6 and route netlink, and the two terminal requests that type into a terminal.
    static let standard = SeccompProfile(
        allowed: files + memory + processes + signals + time + events + network + identity,
        conditional: sockets + clones + terminals + personalities,
        refused: [
            // glibc then falls back to clone, whose flags can be judged.
            Refusal(name: "clone3", errno: 38),
            Refusal(name: "io_uring_setup", errno: 38),
            Refusal(name: "openat2", errno: 38),
        ]
    )

    private static let files = words(
        """
        access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64
        fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr
        fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init
        inotify_init1 inotify_rm_watch lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr lstat
        mkdir mkdirat mknod mknodat newfstatat open openat pipe pipe2 pread64 preadv preadv2 pwrite64 pwritev pwritev2 read
        readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr splice stat statfs
        statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink unlinkat utime utimensat utimes
        vmsplice write writev
        """
    )

    private static let memory = words(
        """
        brk madvise membarrier memfd_create mincore mlock mlock2 mlockall mmap mprotect mremap msync munlock munlockall
        munmap pkey_alloc pkey_free pkey_mprotect process_mrelease remap_file_pages map_shadow_stack mseal
        """
    )

    private static let processes = words(
        """
        arch_prctl capget capset execve execveat exit exit_group fork futex futex_requeue futex_wait futex_waitv futex_wake
        get_robust_list get_thread_area getcpu getpgid getpgrp getpid getppid getpriority getrandom getrlimit getrusage
        getsid gettid ioprio_get ioprio_set landlock_add_rule landlock_create_ruleset landlock_restrict_self pidfd_open
        pidfd_send_signal prctl prlimit64 restart_syscall rseq sched_get_priority_max sched_get_priority_min
        sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_rr_get_interval sched_setaffinity
        sched_setattr sched_setparam sched_setscheduler sched_yield seccomp set_robust_list set_thread_area set_tid_address
        setpgid setpriority setrlimit setsid sysinfo times uname vfork wait4 waitid
        """
    )

    private static let signals = words(
        """
        alarm getitimer kill pause rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
        rt_sigtimedwait rt_tgsigqueueinfo setitimer sigaltstack signalfd signalfd4 tgkill tkill
        """
    )

    private static let time = words(
        """
        clock_getres clock_gettime clock_nanosleep gettimeofday nanosleep time timer_create timer_delete timer_getoverrun
        timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
        """
    )

    private static let events = words(
        """
        epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old eventfd
        eventfd2 poll ppoll pselect6 select io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit mq_getsetattr
        mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop
        shmat shmctl shmdt shmget
        """
    )

    private static let network = words(
        """
        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
        sendto setsockopt shutdown
        """
    )

    private static let identity = words(
        """
        getegid geteuid getgid getgroups getresgid getresuid getuid setfsgid setfsuid setgid setgroups setregid setresgid
        setresuid setreuid setuid
        """
    )

    /// AF_UNIX, AF_INET and AF_INET6 of any kind; AF_NETLINK for NETLINK_ROUTE, which getaddrinfo reads addresses by.
    private static let sockets: [Condition] = [1, 2, 10].flatMap { (family: UInt64) in
        ["socket", "socketpair"].map { Condition(name: $0, argument: 0, mask: 0xffff_ffff, value: family) }
    } + [Condition(name: "socket", argument: 0, mask: 0xffff_ffff, value: 16)]

    /// No CLONE_NEW* flag but for the time namespace's bit, which clone reads as part of the exit signal.
    private static let clones = [Condition(name: "clone", argument: 0, mask: 0x7e02_0000, value: 0)]

    /// Bits of an ioctl's number, one at a time: whatever differs from TIOCSTI (0x5412) and TIOCLINUX (0x541c) in its low
    /// 32 bits is permitted. The kernel looks at no more than those.
    private static let terminals: [Condition] = {
        let sti: UInt64 = 0x5412
        let linux: UInt64 = 0x541c
        // A number that differs from both in a bit that both share, or in a bit where they differ and one beside it.
        let shared = (0..<32).filter { (sti ^ linux) >> UInt64($0) & 1 == 0 }
        var conditions = shared.map { bit in
            Condition(name: "ioctl", argument: 1, mask: 1 << UInt64(bit), value: ~sti & 1 << UInt64(bit))
        }
        // Bits 1, 2 and 3 tell the two apart: 001 and 110. Every other combination is neither.
        for combination in 0..<8 as Range<UInt64> {
            let value = combination << 1
            if value != sti & 0b1110 && value != linux & 0b1110 {
                conditions.append(Condition(name: "ioctl", argument: 1, mask: 0b1110, value: value))
            }
        }
        return conditions
    }()

    /// PER_LINUX, and the question.
    private static let personalities = [
        Condition(name: "personality", argument: 0, mask: 0xffff_ffff, value: 0),
        Condition(name: "personality", argument: 0, mask: 0xffff_ffff, value: 0xffff_ffff),
    ]

    private static func words(_ text: String) -> [String] {
        text.split(whereSeparator: { $0 == " " || $0 == "\n" }).map(String.init)
    }
}
