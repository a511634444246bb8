/// The ways into the kernel, each with numbers of its own. Raw values are the ones in events.
public enum SyscallABI: String, Sendable, CaseIterable, Codable {
    case amd64 = "x86_64"
    /// 64-bit registers, 32-bit pointers.
    case x32
    /// 32-bit, on an x86-64 kernel.
    case i386
    case arm64
    /// No calls: operations that a ring of io_uring takes. Numbers are opcodes.
    case ioUring = "io_uring"

    /// Those by which programs call.
    static let ofCalls: [SyscallABI] = [.amd64, .x32, .i386, .arm64]

    /// Whether what is of it is told apart by it for people.
    public var isMarked: Bool { self == .x32 || self == .i386 || self == .ioUring }
}

/// Names and numbers of system calls, as the kernel's headers have them.
public enum SyscallTable {
    private struct Table: Sendable {
        var names: [UInt32: String] = [:]
        var numbers: [String: UInt32] = [:]

        init(_ text: String) {
            var number: UInt32 = 0
            for word in text.split(whereSeparator: \.isWhitespace) {
                var name = word
                if let colon = word.firstIndex(of: ":"), let jump = UInt32(word[..<colon]) {
                    number = jump
                    name = word[word.index(after: colon)...]
                }
                names[number] = String(name)
                numbers[String(name)] = number
                number += 1
            }
        }
    }

    private static let amd64 = Table(SyscallNumbers.amd64)
    private static let x32 = Table(SyscallNumbers.x32)
    private static let i386 = Table(SyscallNumbers.i386)
    private static let arm64 = Table(SyscallNumbers.arm64)
    private static let ioUring = Table(RingOperations.names)

    private static func table(_ abi: SyscallABI) -> Table {
        switch abi {
        case .amd64: amd64
        case .x32: x32
        case .i386: i386
        case .arm64: arm64
        case .ioUring: ioUring
        }
    }

    /// Nil for a number that the ABI does not have; x32's are without __X32_SYSCALL_BIT.
    public static func name(_ number: UInt32, _ abi: SyscallABI) -> String? { table(abi).names[number] }

    public static func number(_ name: String, _ abi: SyscallABI) -> UInt32? { table(abi).numbers[name] }

    /// Whether an operation of io_uring is one on a file, which its entry names by a descriptor.
    public static func isOfFile(ringOperation name: String) -> Bool { RingOperations.ofFiles.contains(name) }

    public static func names(_ abi: SyscallABI) -> [String: UInt32] { table(abi).numbers }

    /// Whether any ABI has a call of this name.
    public static func isName(_ name: String) -> Bool {
        SyscallABI.ofCalls.contains { table($0).numbers[name] != nil }
    }

    /// Sorted, those of all ABIs.
    static let allNames: [String] = Array(Set(SyscallABI.ofCalls.flatMap { table($0).numbers.keys })).sorted()
}
