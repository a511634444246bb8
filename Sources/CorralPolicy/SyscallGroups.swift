/// Calls that belong together. A call may be in several groups.
public enum SyscallGroups {
    public struct Group: Sendable {
        /// Without the `@`.
        public var name: String
        public var calls: [String]
    }

    private static func group(_ name: String, _ calls: String) -> Group {
        Group(name: name, calls: calls.split(whereSeparator: \.isWhitespace).map(String.init))
    }

    public static let all: [Group] = [
        group(
            "file",
            """
            access acct chdir chmod chown chown32 chroot creat execve execveat faccessat faccessat2 fanotify_mark
            fchmodat fchmodat2 fchownat file_getattr file_setattr fspick fstatat64 futimesat getcwd getxattr getxattrat
            inotify_add_watch lchown lchown32 lgetxattr link linkat listxattr listxattrat llistxattr lremovexattr
            lsetxattr lstat lstat64 mkdir mkdirat mknod mknodat mount mount_setattr move_mount name_to_handle_at
            newfstatat oldlstat oldstat open open_tree open_tree_attr openat openat2 pivot_root quotactl readlink
            readlinkat removexattr removexattrat rename renameat renameat2 rmdir setxattr setxattrat stat stat64 statfs
            statfs64 statx swapoff swapon symlink symlinkat truncate truncate64 umount umount2 unlink unlinkat uselib
            utime utimensat utimensat_time64 utimes
            """),
        group(
            "descriptor",
            """
            cachestat close close_range copy_file_range dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait
            epoll_pwait2 epoll_wait eventfd eventfd2 fadvise64 fadvise64_64 fallocate fchdir fchmod fchown fchown32
            fcntl fcntl64 fdatasync fgetxattr flistxattr flock fremovexattr fsconfig fsetxattr fsmount fsopen fstat
            fstat64 fstatfs fstatfs64 fsync ftruncate ftruncate64 getdents getdents64 inotify_init inotify_init1
            inotify_rm_watch io_uring_enter io_uring_register io_uring_setup ioctl lseek _llseek memfd_create
            memfd_secret pidfd_getfd pidfd_open pidfd_send_signal pipe pipe2 poll ppoll ppoll_time64 pread64 preadv
            preadv2 pselect6 pselect6_time64 pwrite64 pwritev pwritev2 read readahead readv select _newselect sendfile
            sendfile64 signalfd signalfd4 splice sync_file_range syncfs tee timerfd_create timerfd_gettime
            timerfd_settime userfaultfd vmsplice write writev
            """),
        group(
            "network",
            """
            accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg
            recvmmsg_time64 recvmsg sendmmsg sendmsg sendto setsockopt shutdown socket socketcall socketpair
            """),
        group(
            "process",
            """
            clone clone3 execve execveat exit exit_group fork getpgid getpgrp getpid getppid getsid gettid kill
            pidfd_open pidfd_send_signal prctl arch_prctl ptrace process_vm_readv process_vm_writev kcmp seccomp setns
            setpgid setsid tgkill tkill unshare vfork wait4 waitid waitpid rt_sigqueueinfo rt_tgsigqueueinfo
            """),
        group(
            "memory",
            """
            brk get_mempolicy madvise map_shadow_stack mbind membarrier migrate_pages mincore mlock mlock2 mlockall mmap
            mmap2 move_pages mprotect mremap mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect
            process_madvise process_mrelease remap_file_pages set_mempolicy set_mempolicy_home_node
            """),
        group(
            "signal",
            """
            kill pause pidfd_send_signal rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn
            rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sigaction sigaltstack signal
            signalfd signalfd4 sigpending sigprocmask sigreturn sigsuspend tgkill tkill
            """),
        group(
            "ipc",
            """
            ipc mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedreceive_time64 mq_timedsend mq_timedsend_time64
            mq_unlink msgctl msgget msgrcv msgsnd semctl semget semop semtimedop semtimedop_time64 shmat shmctl shmdt
            shmget
            """),
        group(
            "credentials",
            """
            capget capset getegid getegid32 geteuid geteuid32 getgid getgid32 getgroups getgroups32 getresgid
            getresgid32 getresuid getresuid32 getuid getuid32 setfsgid setfsgid32 setfsuid setfsuid32 setgid setgid32
            setgroups setgroups32 setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32
            setuid setuid32
            """),
        group(
            "clock",
            """
            adjtimex alarm clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64
            clock_nanosleep clock_nanosleep_time64 clock_settime clock_settime64 getitimer gettimeofday nanosleep
            setitimer settimeofday stime time timer_create timer_delete timer_getoverrun timer_gettime timer_gettime64
            timer_settime timer_settime64 times
            """),
    ]
}
