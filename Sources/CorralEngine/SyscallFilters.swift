internal import CorralKernel
internal import CorralPolicy

/// Compiled seccomp programs, one for all policies whose `syscalls` are equal.
struct SyscallFilters {
    private var programs: [SyscallPolicy: [UInt8]] = [:]
    /// So many distinct ones at once are an accident or an attack; a program has some kilobytes.
    private static let most = 256

    func program(for syscalls: SyscallPolicy) -> [UInt8]? { programs[syscalls] }

    mutating func keep(_ program: [UInt8], for syscalls: SyscallPolicy) {
        if programs.count >= Self.most { programs.removeAll() }
        programs[syscalls] = program
    }
}

extension Engine {
    /// Compiled when no equal section has been. Nil: no policy, hence the default profile.
    func syscallFilter(for policy: Policy?) async throws -> [UInt8] {
        let syscalls = policy?.syscalls ?? SyscallPolicy()
        if let program = filters.program(for: syscalls) { return program }
        let program = try await compiling.run { try SeccompProgram.compile(syscalls.resolved) }
        filters.keep(program, for: syscalls)
        return program
    }
}
