/// Operations of io_uring in the order of their opcodes, up to those of Linux 6.18 (include/uapi/linux/io_uring.h).
enum RingOperations {
    static let names = words(marked: "").joined(separator: " ")

    /// Those whose entry names a file (`needs_file` in io_uring/opdef.c); SPLICE and TEE name the one written to.
    static let ofFiles = Set(words(marked: "*"))

    /// An asterisk marks those of a file.
    private static let table = """
        NOP READV* WRITEV* FSYNC* READ_FIXED* WRITE_FIXED* POLL_ADD* POLL_REMOVE SYNC_FILE_RANGE* SENDMSG* RECVMSG*
        TIMEOUT TIMEOUT_REMOVE ACCEPT* ASYNC_CANCEL LINK_TIMEOUT CONNECT* FALLOCATE* OPENAT CLOSE FILES_UPDATE STATX
        READ* WRITE* FADVISE* MADVISE SEND* RECV* OPENAT2 EPOLL_CTL SPLICE* PROVIDE_BUFFERS REMOVE_BUFFERS TEE*
        SHUTDOWN* RENAMEAT UNLINKAT MKDIRAT SYMLINKAT LINKAT MSG_RING* FSETXATTR* SETXATTR FGETXATTR* GETXATTR SOCKET
        URING_CMD* SEND_ZC* SENDMSG_ZC* READ_MULTISHOT* WAITID FUTEX_WAIT FUTEX_WAKE FUTEX_WAITV FIXED_FD_INSTALL*
        FTRUNCATE* BIND* LISTEN* RECV_ZC* EPOLL_WAIT* READV_FIXED* WRITEV_FIXED* PIPE
        """

    private static func words(marked mark: String) -> [String] {
        table.split(whereSeparator: \.isWhitespace).filter { $0.hasSuffix(mark) }
            .map { "IORING_OP_" + $0.filter { $0 != "*" } }
    }
}
