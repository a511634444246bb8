internal import CLinux
public import CorralPolicy
internal import Glibc

/// Compiles seccomp profiles to the kernel's programs.
public enum SeccompProgram {
    /// An array of `struct sock_filter` (8 bytes each), for x86-64. Takes some milliseconds; the result for a profile is always
    /// the same, so callers keep it. Throws EINVAL for a condition that has no program.
    public static func compile(_ profile: SyscallProfile) throws(KernelError) -> [UInt8] {
        let fallback = try action(profile.fallback)
        guard let filter = corral_seccomp_new(fallback) else {
            throw KernelError(call: "seccomp_init", errno: ENOMEM)
        }
        defer { corral_seccomp_free(filter) }

        var prologue = SeccompPrologue()
        if !profile.fallback.isPermitted { prologue.refuse(above: SyscallProfile.newestCall) }
        // Sorted, so that equal profiles make equal programs.
        for (call, rule) in profile.rules.sorted(by: { $0.key < $1.key }) {
            let number = try number(of: call)
            let action = try action(rule.answer)
            switch rule.condition?.test {
            case nil:
                // libseccomp refuses rules that change nothing.
                if action != fallback { try add(action, number, [], to: filter, call) }
            case .oneOf(let alternatives):
                for tests in alternatives { try add(action, number, tests, to: filter, call) }
            case .noneOf(let argument, let values):
                guard argument < 6, values.count <= SeccompPrologue.mostValues else {
                    throw KernelError(call: "seccomp_rule_add", subject: call, errno: EINVAL)
                }
                prologue.refuse(number, argument: argument, values: values)
                if action != fallback { try add(action, number, [], to: filter, call) }
            }
        }

        let first = prologue.bytes
        var program = [UInt8](repeating: 0, count: capacity - first.count)
        let length = program.withUnsafeMutableBytes { buffer in
            corral_seccomp_export(filter, buffer.baseAddress, buffer.count)
        }
        try check(length, "seccomp_export_bpf")
        return first + program.prefix(Int(length))
    }

    /// BPF_MAXINSNS instructions.
    private static let capacity = 4096 * 8

    static func number(of call: String) throws(KernelError) -> UInt32 {
        guard let number = SyscallTable.number(call, .amd64) else {
            throw KernelError(call: "seccomp_rule_add", subject: call, errno: 0, detail: "no such system call")
        }
        return number
    }

    private static func action(_ answer: SyscallProfile.Answer) throws(KernelError) -> UInt32 {
        switch answer {
        case .allowed: UInt32(SECCOMP_RET_ALLOW)
        case .refused: UInt32(SECCOMP_RET_ERRNO) | UInt32(EPERM)
        case .absent: UInt32(SECCOMP_RET_ERRNO) | UInt32(ENOSYS)
        case .killed: UInt32(SECCOMP_RET_KILL_PROCESS)
        case .logged: UInt32(SECCOMP_RET_LOG)
        }
    }

    private static func add(
        _ action: UInt32, _ number: UInt32, _ tests: [SyscallProfile.ArgumentTest], to filter: UnsafeMutableRawPointer,
        _ call: String
    ) throws(KernelError) {
        let result = corral_seccomp_add(
            filter, action, Int32(bitPattern: number), tests.map(\.argument), tests.map(\.mask), tests.map(\.value),
            tests.count)
        try check(result, "seccomp_rule_add", on: call)
    }

    private static func check(_ result: Int32, _ call: String, on subject: String = "") throws(KernelError) {
        if result < 0 { throw KernelError(call: call, subject: subject, errno: 0 &- result) }
    }
}

/// What libseccomp's rules cannot say, in front of its program: calls beyond a number, and arguments that are none of a list.
/// Falls off its end into what follows; calls of i386 and x32 do so at once.
struct SeccompPrologue {
    private struct Instruction {
        var code: UInt16
        var ifTrue: UInt8 = 0
        var ifFalse: UInt8 = 0
        var operand: UInt32

        static func load(_ offset: UInt32) -> Instruction { Instruction(code: 0x20, operand: offset) }  // BPF_LD|W|ABS
        static func jump(_ test: UInt16, _ value: UInt32, _ yes: UInt8, _ no: UInt8) -> Instruction {
            Instruction(code: test, ifTrue: yes, ifFalse: no, operand: value)
        }
        static func answer(_ action: UInt32) -> Instruction { Instruction(code: 0x06, operand: action) }  // BPF_RET|K
        /// BPF_JMP|JA; the operand is set when the end is known.
        static let toEnd = Instruction(code: 0x05, operand: 0)
    }

    // BPF_JMP|BPF_K and the test.
    private static let equal: UInt16 = 0x15
    private static let atLeast: UInt16 = 0x35
    private static let above: UInt16 = 0x25
    // struct seccomp_data
    private static let numberOffset: UInt32 = 0
    private static let archOffset: UInt32 = 4
    private static let argumentsOffset: UInt32 = 16
    private static let auditX8664: UInt32 = 0xC000_003E
    private static let x32Bit: UInt32 = 0x4000_0000

    static let mostValues = 64

    private var code: [Instruction] = [
        .load(archOffset), .jump(equal, auditX8664, 1, 0), .toEnd,
        .load(numberOffset), .jump(atLeast, x32Bit, 0, 1), .toEnd,
    ]

    /// ENOSYS for greater numbers.
    mutating func refuse(above number: UInt32) {
        code += [
            .jump(Self.above, number, 0, 1), .answer(UInt32(SECCOMP_RET_ERRNO) | UInt32(ENOSYS)),
        ]
    }

    /// EPERM for a call when the low 32 bits of an argument (from 0) are one of at most `mostValues`.
    mutating func refuse(_ number: UInt32, argument: UInt32, values: [UInt32]) {
        let count = UInt8(truncatingIfNeeded: values.count)
        code += [.jump(Self.equal, number, 0, count + 3), .load(Self.argumentsOffset + argument * 8)]
        for (index, value) in values.enumerated() {
            code.append(.jump(Self.equal, value, count - UInt8(truncatingIfNeeded: index), 0))
        }
        code += [.toEnd, .answer(UInt32(SECCOMP_RET_ERRNO) | UInt32(EPERM))]
    }

    /// `struct sock_filter`: 16 bits of code, two jumps of 8, an operand of 32.
    var bytes: [UInt8] {
        var bytes: [UInt8] = []
        for (index, instruction) in code.enumerated() {
            var operand = instruction.operand
            if instruction.code == Instruction.toEnd.code { operand = UInt32(code.count - index - 1) }
            bytes += [UInt8(truncatingIfNeeded: instruction.code), UInt8(instruction.code >> 8)]
            bytes += [instruction.ifTrue, instruction.ifFalse]
            bytes += (0..<4).map { UInt8(truncatingIfNeeded: operand >> (8 * $0)) }
        }
        return bytes
    }
}
