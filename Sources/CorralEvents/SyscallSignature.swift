internal import CorralPolicy

/// What the arguments of a call mean: how they are written, and what memory they point to.
struct SyscallSignature: Sendable {
    enum Kind: Sendable, Equatable {
        /// 32 bits.
        case int
        /// 64 bits.
        case offset
        case unsigned
        case hex
        case octal
        case pointer
        case fd
        /// Or AT_FDCWD.
        case directory
        case signal
        case path
        case text
        /// Pointers to texts.
        case texts
        /// Bytes of the length that the next argument has.
        case bytesIn
        /// As many bytes as the call returned.
        case bytesOut
        /// A struct sockaddr of the length that the next argument has.
        case addressIn
        /// One of the length that the next argument points to.
        case addressOut
        case flags(SyscallFlags.Set)
        case timeIn
        case timeOut
        /// Two descriptors.
        case pairOut
        case waitStatusOut
        /// struct open_how
        case openHow
        /// struct clone_args
        case cloneArguments
        case limitIn
        case limitOut
        /// struct stat of x86-64
        case statusOut
        /// A 32-bit word, such as the value of most socket options.
        case wordIn
        case wordOut
    }

    /// Shown only when the flags before it ask for it: the mode of a file that is made.
    var hasOptionalMode = false
    var kinds: [Kind]

    /// Nil: not known, six words are shown.
    static func of(_ name: String) -> SyscallSignature? { table[name] }

    /// For tests.
    static var names: [String] { table.keys.sorted() }

    private static let words: [String: Kind] = {
        var words: [String: Kind] = [
            "int": .int, "off": .offset, "uint": .unsigned, "hex": .hex, "octal": .octal, "ptr": .pointer, "fd": .fd,
            "dirfd": .directory, "sig": .signal, "path": .path, "text": .text, "texts": .texts, "in": .bytesIn,
            "out": .bytesOut, "addr": .addressIn, "addr.out": .addressOut, "time": .timeIn, "time.out": .timeOut,
            "pair": .pairOut, "status": .waitStatusOut, "how": .openHow, "cargs": .cloneArguments, "limit": .limitIn,
            "limit.out": .limitOut, "stat": .statusOut, "word": .wordIn, "word.out": .wordOut,
        ]
        for set in SyscallFlags.all { words[set.word] = .flags(set) }
        return words
    }()

    private static let table: [String: SyscallSignature] = {
        var table: [String: SyscallSignature] = [:]
        for line in SyscallSignatures.text.split(separator: "\n") {
            let parts = line.split(separator: " ")
            guard let name = parts.first else { continue }
            var signature = SyscallSignature(kinds: [])
            for word in parts.dropFirst() {
                if word == "mode?" { signature.hasOptionalMode = true }
                signature.kinds.append(words[word == "mode?" ? "octal" : String(word)] ?? .hex)
            }
            table[String(name)] = signature
        }
        return table
    }()

    /// Words of the table that mean nothing; none, as a test makes sure.
    static var unknownWords: [Substring] {
        SyscallSignatures.text.split(separator: "\n").flatMap { $0.split(separator: " ").dropFirst() }
            .filter { words[String($0)] == nil && $0 != "mode?" }
    }
}

enum SyscallSignatures {
    /// One call a line: its name, and the kinds of its arguments.
    static let text = """
        read fd out uint
        write fd in uint
        pread64 fd out uint off
        pwrite64 fd in uint off
        readv fd ptr uint
        writev fd ptr uint
        open path open mode?
        openat dirfd path open mode?
        openat2 dirfd path how uint
        creat path octal
        close fd
        close_range uint uint closerange
        stat path stat
        lstat path stat
        fstat fd stat
        newfstatat dirfd path stat at
        statx dirfd path at hex ptr
        statfs path ptr
        fstatfs fd ptr
        access path access
        faccessat dirfd path access
        faccessat2 dirfd path access at
        lseek fd off whence
        getdents fd ptr uint
        getdents64 fd ptr uint
        getcwd out uint
        chdir path
        fchdir fd
        mkdir path octal
        mkdirat dirfd path octal
        rmdir path
        mknod path octal hex
        mknodat dirfd path octal hex
        unlink path
        unlinkat dirfd path at
        rename path path
        renameat dirfd path dirfd path
        renameat2 dirfd path dirfd path rename
        link path path
        linkat dirfd path dirfd path at
        symlink path path
        symlinkat path dirfd path
        readlink path out uint
        readlinkat dirfd path out uint
        chmod path octal
        fchmod fd octal
        fchmodat dirfd path octal
        fchmodat2 dirfd path octal at
        chown path int int
        lchown path int int
        fchown fd int int
        fchownat dirfd path int int at
        truncate path off
        ftruncate fd off
        fallocate fd hex off off
        fsync fd
        fdatasync fd
        sync_file_range fd off off hex
        fadvise64 fd off off int
        copy_file_range fd ptr fd ptr uint hex
        sendfile fd fd ptr uint
        splice fd ptr fd ptr uint hex
        utimensat dirfd path ptr at
        umask octal
        dup fd
        dup2 fd fd
        dup3 fd fd oflag
        pipe pair
        pipe2 pair oflag
        fcntl fd fcntl hex
        ioctl fd hex hex
        flock fd int
        poll ptr uint int
        ppoll ptr uint time ptr uint
        select int ptr ptr ptr ptr
        pselect6 int ptr ptr ptr time ptr
        epoll_create int
        epoll_create1 oflag
        epoll_ctl fd epoll fd ptr
        epoll_wait fd ptr int int
        epoll_pwait fd ptr int int ptr uint
        eventfd2 uint oflag
        timerfd_create clock oflag
        inotify_init1 oflag
        inotify_add_watch fd path hex
        memfd_create text hex
        setxattr path text in uint hex
        lsetxattr path text in uint hex
        getxattr path text out uint
        lgetxattr path text out uint
        removexattr path text
        mount text path text hex ptr
        umount2 path hex
        pivot_root path path
        chroot path
        socket family sock int
        socketpair family sock int pair
        bind fd addr uint
        connect fd addr uint
        listen fd int
        accept fd addr.out ptr
        accept4 fd addr.out ptr sock
        getsockname fd addr.out ptr
        getpeername fd addr.out ptr
        sendto fd in uint msg addr uint
        recvfrom fd out uint msg addr.out ptr
        sendmsg fd ptr msg
        recvmsg fd ptr msg
        sendmmsg fd ptr uint msg
        recvmmsg fd ptr uint msg time
        shutdown fd int
        setsockopt fd int int word uint
        getsockopt fd int int word.out ptr
        mmap ptr uint prot map fd hex
        munmap ptr uint
        mprotect ptr uint prot
        mremap ptr uint uint hex ptr
        madvise ptr uint int
        brk ptr
        mlock ptr uint
        munlock ptr uint
        msync ptr uint hex
        mincore ptr uint ptr
        pkey_mprotect ptr uint prot int
        clone clone ptr ptr ptr hex
        clone3 cargs uint
        fork
        vfork
        execve path texts ptr
        execveat dirfd path texts ptr at
        exit int
        exit_group int
        wait4 int status wait ptr
        waitid int int ptr wait ptr
        kill int sig
        tkill int sig
        tgkill int int sig
        pidfd_open int hex
        pidfd_send_signal fd sig ptr hex
        pidfd_getfd fd fd hex
        ptrace int int ptr ptr
        process_vm_readv int ptr uint ptr uint hex
        process_vm_writev int ptr uint ptr uint hex
        prctl int hex hex hex hex
        arch_prctl hex ptr
        seccomp uint hex ptr
        unshare clone
        setns fd clone
        getpid
        getppid
        gettid
        getpgrp
        getpgid int
        setpgid int int
        getsid int
        setsid
        getuid
        geteuid
        getgid
        getegid
        setuid int
        setgid int
        setreuid int int
        setregid int int
        setresuid int int int
        setresgid int int int
        getresuid ptr ptr ptr
        getresgid ptr ptr ptr
        getgroups int ptr
        setgroups int ptr
        capget ptr ptr
        capset ptr ptr
        rt_sigaction sig ptr ptr uint
        rt_sigprocmask int ptr ptr uint
        rt_sigpending ptr uint
        rt_sigtimedwait ptr ptr time uint
        rt_sigsuspend ptr uint
        rt_sigreturn
        rt_sigqueueinfo int sig ptr
        sigaltstack ptr ptr
        pause
        alarm uint
        nanosleep time time.out
        clock_nanosleep clock int time time.out
        clock_gettime clock time.out
        clock_getres clock time.out
        clock_settime clock time
        gettimeofday ptr ptr
        time ptr
        times ptr
        futex ptr futex uint ptr ptr hex
        set_robust_list ptr uint
        get_robust_list int ptr ptr
        set_tid_address ptr
        rseq ptr uint hex hex
        sched_yield
        sched_getaffinity int uint ptr
        sched_setaffinity int uint ptr
        getrlimit rlimit limit.out
        setrlimit rlimit limit
        prlimit64 int rlimit limit limit.out
        getrusage int ptr
        sysinfo ptr
        uname ptr
        getrandom out uint hex
        getcpu ptr ptr ptr
        membarrier int hex int
        bpf int ptr uint
        perf_event_open ptr int int fd hex
        userfaultfd hex
        io_uring_setup uint ptr
        io_uring_enter fd uint uint hex ptr uint
        io_uring_register fd uint ptr uint
        keyctl int hex hex hex hex
        add_key text text in uint int
        request_key text text text int
        init_module ptr uint text
        finit_module fd text hex
        delete_module text hex
        reboot hex hex hex ptr
        sethostname in uint
        setdomainname in uint
        swapon path hex
        swapoff path
        acct path
        personality hex
        syslog int ptr int
        sync
        syncfs fd
        """
}
