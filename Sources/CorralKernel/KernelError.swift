internal import CLinux
internal import Glibc

/// A system call, or a step of our own that checks what the kernel said, that failed.
public struct KernelError: Error, Sendable, Equatable {
    /// The call or the netlink message: `bpf_link_create`, `RTM_NEWLINK`.
    public var call: String
    /// What it was called on: `cgroup sb-7k2m9x`. Empty when there is nothing to name.
    public var subject: String
    /// 0 when the call itself succeeded and its result was wrong; `detail` then says how.
    public var errno: Int32
    /// The kernel's own message, a verifier log, or what to do about it.
    public var detail: String?

    public init(call: String, subject: String = "", errno: Int32, detail: String? = nil) {
        self.call = call
        self.subject = subject
        self.errno = errno
        self.detail = detail
    }
}

extension KernelError {
    /// Of a map that an entry could not be put into; `errno` as bpf(2) left it. That a table holds no more it calls E2BIG.
    static func update(of map: String) -> KernelError {
        let number = Glibc.errno
        return KernelError(
            call: "bpf_map_update_elem", subject: map, errno: number == E2BIG ? ENOSPC : number,
            detail: number == E2BIG ? "the table is full" : nil)
    }

    /// Whether something has run out that may be there again later: it says nothing about what was asked for.
    public var isShortage: Bool { Self.isShortage(errno) }

    /// Of errno.
    public static func isShortage(_ number: Int32) -> Bool {
        [EMFILE, ENFILE, ENOMEM, EAGAIN, ENOSPC, EDQUOT, ENOBUFS].contains(number)
    }
}

extension KernelError: CustomStringConvertible {
    /// `bpf_link_create on cgroup sb-7k2m9x: Operation not permitted (EPERM)`, then the detail.
    public var description: String {
        var text = subject.isEmpty ? call : "\(call) on \(subject)"
        if errno != 0 { text += ": \(Self.describe(errno))" }
        if let detail { text += ": \(detail)" }
        return text
    }

    /// `Operation not permitted (EPERM)`.
    public static func describe(_ errno: Int32) -> String {
        guard let name = corral_errno_name(errno), let text = corral_errno_text(errno) else { return "errno \(errno)" }
        return "\(String(cString: text)) (\(String(cString: name)))"
    }
}

/// Runs a system call until it is not interrupted; a negative result becomes an error that carries `errno`.
@discardableResult
func systemCall<Result: SignedInteger>(
    _ call: @autoclosure () -> String, on subject: @autoclosure () -> String = "", _ body: () -> Result
) throws(KernelError) -> Result {
    while true {
        let result = body()
        if result >= 0 { return result }
        let number = errno
        if number != EINTR { throw KernelError(call: call(), subject: subject(), errno: number) }
    }
}
