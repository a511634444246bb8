internal import CLinux
internal import Glibc

/// Compiles seccomp profiles to the kernel's programs.
public enum SeccompProgram {
    /// The default profile's program: an array of `struct sock_filter` (8 bytes each), for x86-64. i386 and x32 calls fail
    /// with ENOSYS. Takes some milliseconds; the result is always the same, so callers keep it.
    public static func defaultProfile() throws(KernelError) -> [UInt8] {
        try compile(.standard)
    }

    /// BPF_MAXINSNS instructions.
    private static let capacity = 4096 * 8

    static func compile(_ profile: SeccompProfile) throws(KernelError) -> [UInt8] {
        guard let filter = corral_seccomp_new(UInt16(EPERM)) else {
            throw KernelError(call: "seccomp_init", errno: ENOMEM)
        }
        defer { corral_seccomp_free(filter) }

        for name in profile.allowed {
            let number = try number(of: name)
            try check(corral_seccomp_allow(filter, number), "seccomp_rule_add", on: name)
        }
        for name in profile.absent {
            let number = try number(of: name)
            try check(corral_seccomp_refuse(filter, number, UInt16(ENOSYS)), "seccomp_rule_add", on: name)
        }
        for (name, alternatives) in profile.conditional {
            let number = try number(of: name)
            for conditions in alternatives {
                let result = corral_seccomp_allow_if(
                    filter, number, conditions.map(\.argument), conditions.map(\.mask), conditions.map(\.value),
                    conditions.count)
                try check(result, "seccomp_rule_add", on: name)
            }
        }

        var program = [UInt8](repeating: 0, count: capacity)
        let length = program.withUnsafeMutableBytes { buffer in
            corral_seccomp_export(
                filter, profile.deniedRequests, profile.deniedRequests.count, profile.newestCall, buffer.baseAddress,
                buffer.count)
        }
        try check(length, "seccomp_export_bpf")
        return Array(program.prefix(Int(length)))
    }

    static func number(of call: String) throws(KernelError) -> Int32 {
        let number = corral_seccomp_number(call)
        guard number >= 0 else {
            throw KernelError(
                call: "seccomp_syscall_resolve_name", subject: call, errno: 0, detail: "no such system call")
        }
        return number
    }

    private static func check(_ result: Int32, _ call: String, on subject: String = "") throws(KernelError) {
        if result < 0 { throw KernelError(call: call, subject: subject, errno: 0 &- result) }
    }
}
