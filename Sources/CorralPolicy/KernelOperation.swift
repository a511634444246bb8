/// What a process may ask of the kernel beside the network, as the hooks of the BPF LSM see it: whichever system call asks.
public enum KernelOperation: String, Sendable, CaseIterable, Codable {
    case mount
    /// Attaching to another process, and reading or writing its memory.
    case ptrace
    case bpf
    /// Code for the kernel: modules, another kernel.
    case module
    case ioUring = "io_uring"
    case userNamespace = "user_namespace"
    /// Of a socket that was made outside the sandbox.
    case receive

    /// A policy that permits one of these calls, whatever their arguments, permits it; none: no policy does.
    public var permittingCalls: [String] {
        switch self {
        case .mount: ["mount", "move_mount", "umount2", "pivot_root"]
        case .ptrace: ["ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"]
        case .bpf: ["bpf"]
        case .module: ["init_module", "finit_module", "kexec_load", "kexec_file_load"]
        case .ioUring: ["io_uring_setup"]
        case .userNamespace: ["unshare", "clone3"]
        case .receive: []
        }
    }

    /// One line that says how to have it, or why nobody can.
    public var hint: String {
        guard let call = permittingCalls.first else {
            return "a socket that was made outside the sandbox would go around its network policy; "
                + "no policy can permit it"
        }
        return "the policy's syscalls do not permit it; to permit it add \(call) to syscalls.allow"
    }
}

extension SyscallProfile {
    /// The operations that it permits.
    public var permittedOperations: Set<KernelOperation> {
        Set(
            KernelOperation.allCases.filter { operation in
                operation.permittingCalls.contains { call in
                    let rule = rule(for: call)
                    return rule.answer.isPermitted && rule.condition == nil
                }
            })
    }
}
