internal import CLinux
internal import Glibc

/// Compiles profiles by libseccomp.
public enum SeccompProgram {
    /// `struct sock_filter`s of the profile `default`, for this machine's native system calls; others are refused.
    public static func defaultProfile() throws(KernelError) -> [UInt8] {
        try compile(.standard)
    }

    static func compile(_ profile: SeccompProfile) throws(KernelError) -> [UInt8] {
        guard let context = seccomp_init(corral_scmp_errno(UInt16(EPERM))) else {
            throw KernelError(call: "seccomp_init", errno: ENOMEM)
        }
        defer { seccomp_release(context) }
        try check(seccomp_attr_set(context, SCMP_FLTATR_ACT_BADARCH, corral_scmp_errno(UInt16(EPERM))), "badarch")
        // Binary search instead of a list of comparisons.
        try check(seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2), "optimize")
        for name in profile.allowed {
            guard let call = number(of: name) else { continue }
            try check(corral_seccomp_add_any(context, corral_scmp_allow(), call), name)
        }
        for condition in profile.conditional {
            guard let call = number(of: condition.name) else { continue }
            try check(
                corral_seccomp_add(context, corral_scmp_allow(), call, condition.argument, condition.mask, condition.value),
                condition.name
            )
        }
        for refusal in profile.refused {
            guard let call = number(of: refusal.name) else { continue }
            try check(corral_seccomp_add_any(context, corral_scmp_errno(refusal.errno), call), refusal.name)
        }
        let file = FileDescriptor(owning: try systemCall("seccomp_export_bpf") { corral_seccomp_export(context) })
        let path = "/proc/self/fd/\(file.raw)"
        return try readFile(path)
    }

    private static func number(of name: String) -> Int32? {
        let call = seccomp_syscall_resolve_name(name)
        return call >= 0 ? call : nil
    }

    private static func check(_ result: Int32, _ subject: String) throws(KernelError) {
        guard result == 0 else { throw KernelError(call: "seccomp_rule_add", subject: subject, errno: -result) }
    }
}
