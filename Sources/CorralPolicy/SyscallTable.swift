/// The ways into the kernel, each with numbers of its own. Raw values are the ones in events.
public enum SyscallABI: String, Sendable, CaseIterable, Codable {
    case amd64 = "x86_64"
    /// 64-bit registers, 32-bit pointers.
    case x32
    /// 32-bit, on an x86-64 kernel.
    case i386
    case arm64
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

    private static func table(_ abi: SyscallABI) -> Table {
        switch abi {
        case .amd64: amd64
        case .x32: x32
        case .i386: i386
        case .arm64: arm64
        }
    }

    /// Nil for a number that the ABI does not have; x32's are without __X32_SYSCALL_BIT.
    public static func name(_ number: UInt32, _ abi: SyscallABI) -> String? { table(abi).names[number] }

    public static func number(_ name: String, _ abi: SyscallABI) -> UInt32? { table(abi).numbers[name] }

    public static func names(_ abi: SyscallABI) -> [String: UInt32] { table(abi).numbers }

    /// Whether any ABI has a call of this name.
    public static func isName(_ name: String) -> Bool {
        SyscallABI.allCases.contains { table($0).numbers[name] != nil }
    }

    /// Sorted, those of all ABIs.
    static let allNames: [String] = Array(Set(SyscallABI.allCases.flatMap { table($0).numbers.keys })).sorted()
}
