extension SyscallProfile {
    public static func named(_ profile: SyscallPolicy.Profile) -> SyscallProfile {
        switch profile {
        case .standard: standard
        case .strict: strict
        case .none: none
        case .unconfined: SyscallProfile(rules: [:], fallback: .allowed)
        }
    }

    /// What interpreters, compilers, shells and package tools need. Left out, so refused: io_uring, bpf, userfaultfd,
    /// keyrings, kernel modules, kexec, mounts, new namespaces, ptrace and its relatives, perf events, handles of files,
    /// setting clocks, raw I/O ports, swap, accounting, quotas, memory placement.
    private static let standard = SyscallProfile(
        allowed: common + changes + ownership + watching + pipesAndAIO + placement + queues + sockets + selfRestriction,
        conditions: [
            "clone": noNamespaces,
            "ioctl": Condition(
                // Both put input into a terminal.
                test: .noneOf(argument: 1, values: [0x5412, 0x541C]), text: "requests other than TIOCSTI and TIOCLINUX"),
            "personality": Condition(
                test: .oneOf([0, 8, 0x20000, 0x20008, 0xFFFF_FFFF].map { [ArgumentTest(0, is: $0)] }),
                text: "PER_LINUX and PER_LINUX32, with or without UNAME26, and the question which"),
            "prctl": Condition(
                // A call that is dispatched to the process looks in a trace like one that was refused.
                test: .noneOf(argument: 0, values: [33, 35, 57, 59, 62]),
                text: "all but PR_MCE_KILL, PR_SET_MM, PR_SET_IO_FLUSHER, PR_SET_SYSCALL_USER_DISPATCH, PR_SCHED_CORE"),
            "socket": Condition(
                test: .oneOf([
                    [ArgumentTest(0, is: 1)], [ArgumentTest(0, is: 2)], [ArgumentTest(0, is: 10)],
                    [ArgumentTest(0, is: 16), ArgumentTest(2, is: 0)],
                ]),
                text: "AF_UNIX, AF_INET, AF_INET6, and AF_NETLINK for NETLINK_ROUTE"),
            "socketpair": Condition(test: .oneOf([[ArgumentTest(0, is: 1)]]), text: "AF_UNIX"),
        ]
    )

    /// What an interpreter needs that computes and reads and writes files. Of the default it leaves out sockets of every
    /// kind, message queues, semaphores and shared memory of System V and POSIX, changes of owners, of users, of capabilities
    /// and of extended attributes, device nodes, inotify, asynchronous I/O, splicing, scheduling, memory locks, memory files,
    /// personalities, and all but a few requests of ioctl and prctl.
    private static let strict = SyscallProfile(
        allowed: common + changes + selfRestriction,
        conditions: [
            "clone": noNamespaces,
            "ioctl": Condition(
                test: .oneOf(
                    [
                        0x5401, 0x5402, 0x5403, 0x5404, 0x540F, 0x5410, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451,
                    ].map { [ArgumentTest(1, is: $0)] }),
                text: """
                    TCGETS, TCSETS, TCSETSW, TCSETSF, TIOCGPGRP, TIOCSPGRP, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, \
                    FIOCLEX
                    """
            ),
            "prctl": Condition(
                test: .oneOf(
                    [1, 2, 3, 4, 15, 16, 21, 22, 23, 29, 30, 38, 39, 40, 41, 42, 0x5356_4D41].map {
                        [ArgumentTest(0, is: $0)]
                    }),
                text: """
                    death signal, dumpable, name, seccomp, reading the bounding set, timer slack, no_new_privs, \
                    the address for the thread id, huge pages, names of memory
                    """),
        ]
    )

    /// What a process cannot start or end without, and what one run makes and the next may not: waiting for another thread,
    /// asking for memory, the time where the clock cannot be read without a call, going on after a signal.
    private static let none = SyscallProfile(
        allowed: """
            brk clock_gettime execve exit exit_group futex getcpu gettimeofday madvise mmap mprotect mremap munmap
            restart_syscall rt_sigreturn sched_yield time write
            """, conditions: [:])

    private static let noNamespaces = Condition(
        // CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
        test: .oneOf([[ArgumentTest(0, mask: 0x7E02_0000, is: 0)]]), text: "no flag for a new namespace")

    /// clone3's flags are behind a pointer; C libraries fall back to clone. What is newer than Linux 5.17 and not listed is
    /// absent too.
    private static let lastCallOf517: UInt32 = 450

    private init(allowed: String, conditions: [String: Condition]) {
        rules = [:]
        fallback = .refused
        for call in allowed.split(whereSeparator: \.isWhitespace).map(String.init) {
            rules[call] = Rule(.allowed, conditions[call])
        }
        for (call, number) in SyscallTable.names(.amd64) where rules[call] == nil {
            if number > Self.lastCallOf517 || call == "clone3" { rules[call] = Rule(.absent) }
        }
    }

    /// In every profile but `unconfined`.
    private static let common = """
        access alarm arch_prctl brk cachestat capget chdir clock_getres clock_gettime clock_nanosleep clone close close_range
        copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait eventfd
        eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fchdir fcntl fdatasync fgetxattr flistxattr
        flock fork fstat fstatfs fsync ftruncate futex futex_requeue futex_wait futex_waitv futex_wake get_mempolicy
        get_robust_list get_thread_area getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpgid
        getpgrp getpid getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid gettid gettimeofday
        getuid getxattr getxattrat ioctl kill lgetxattr listxattr listxattrat llistxattr lseek lstat madvise membarrier
        mincore mmap mprotect mremap mseal msync munmap nanosleep newfstatat open openat openat2 pause pidfd_open
        pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll prctl pread64 preadv preadv2 prlimit64
        pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv restart_syscall rseq rt_sigaction
        rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
        sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
        sched_rr_get_interval sched_yield select sendfile set_robust_list set_thread_area set_tid_address setitimer setpgid
        setrlimit setsid sigaltstack signalfd signalfd4 stat statfs statx sysinfo tgkill time timer_create timer_delete
        timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime times tkill umask uname
        vfork wait4 waitid write writev
        """

    private static let changes = """

        chmod creat fallocate fchmod fchmodat fchmodat2 futimesat link linkat mkdir mkdirat rename renameat renameat2 rmdir
        symlink symlinkat truncate unlink unlinkat utime utimensat utimes
        """

    private static let selfRestriction = """

        landlock_add_rule landlock_create_ruleset landlock_restrict_self seccomp
        """

    private static let ownership = """

        capset chown fchown fchownat fremovexattr fsetxattr lchown lremovexattr lsetxattr mknod mknodat removexattr
        removexattrat setfsgid setfsuid setgid setgroups setregid setresgid setresuid setreuid setuid setxattr setxattrat
        """

    private static let watching = """

        inotify_add_watch inotify_init inotify_init1 inotify_rm_watch
        """

    private static let pipesAndAIO = """

        io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit splice sync sync_file_range syncfs tee vmsplice
        """

    /// Of memory and of time on processors.
    private static let placement = """

        ioprio_get ioprio_set memfd_create mlock mlock2 mlockall munlock munlockall personality remap_file_pages
        sched_setaffinity sched_setattr sched_setparam sched_setscheduler setpriority
        """

    private static let queues = """

        mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd semctl semget
        semop semtimedop shmat shmctl shmdt shmget
        """

    private static let sockets = """

        accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg
        sendto setsockopt shutdown socket socketpair
        """
}
