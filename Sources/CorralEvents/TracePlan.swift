internal import CorralABI
public import CorralPolicy

/// What the programs in the kernel have to know of one call: `struct corral_plan`.
public struct TracePlan: Sendable, Equatable {
    struct Capture: Sendable, Equatable {
        var argument: Int
        var kind: UInt32
        /// Bytes at most.
        var size: UInt8
    }

    /// Index of the call's row and plan, from 0 to CORRAL_TRACE_ROWS - 2.
    public var row: UInt32
    var captures: [Capture]
    var flags: UInt32

    /// As it goes into the map.
    public var bytes: [UInt8] {
        var bytes: [UInt8] = []
        for index in 0..<Int(CORRAL_CAPTURES) {
            guard index < captures.count else {
                bytes += [0, 0, 0, 0]
                continue
            }
            let capture = captures[index]
            bytes += [
                UInt8(truncatingIfNeeded: capture.argument), UInt8(truncatingIfNeeded: capture.kind), capture.size, 0,
            ]
        }
        for word in [flags, 0] {
            bytes += (0..<4).map { UInt8(truncatingIfNeeded: word >> ($0 * 8)) }
        }
        return bytes
    }
}

/// Rows of the counts, and the calls that they are of.
public enum TraceRows {
    public static let count = CORRAL_TRACE_ROWS

    /// Those that this machine's programs can use.
    public static var nativeABI: SyscallABI { WireTrace.nativeABI }

    private static let abis: [(SyscallABI, UInt32)] = {
        let everywhere: [(SyscallABI, UInt32)] = [
            (WireTrace.nativeABI, CORRAL_ABI_NATIVE.rawValue), (.ioUring, CORRAL_ABI_IO_URING.rawValue),
        ]
        return WireTrace.nativeABI == .amd64
            ? everywhere + [(.i386, CORRAL_ABI_COMPAT.rawValue), (.x32, CORRAL_ABI_X32.rawValue)] : everywhere
    }()

    /// Of every call that has a name.
    public static let plans: [TracePlan] = abis.flatMap { abi, number in
        SyscallTable.names(abi).compactMap { name, call in
            guard call < CORRAL_SYSCALLS else { return nil }
            return plan(name, abi, row: number * CORRAL_SYSCALLS + call)
        }
    }

    /// The call that a row counts; nil for a number without a name.
    public static func call(of row: UInt32) -> (name: String, abi: SyscallABI)? {
        guard row < CORRAL_SYSCALL_ABIS * CORRAL_SYSCALLS,
            let abi = abis.first(where: { $0.1 == row / CORRAL_SYSCALLS })?.0
        else { return nil }
        let number = row % CORRAL_SYSCALLS
        return (SyscallTable.name(number, abi) ?? WireTrace.name(ofUnknown: number, abi), abi)
    }

    /// Rows of the calls of which a selection tells each.
    public static func rows(of selection: TraceSelection) -> [UInt32] {
        switch selection {
        case .none, .counts, .first: return []
        case .all: return Array(0..<count)
        case .calls(let names), .firstAnd(let names):
            return abis.flatMap { abi, number in
                let first = number * CORRAL_SYSCALLS
                if abi == .ioUring {
                    return names.contains(TraceSelection.submission) ? Array(first..<first + CORRAL_SYSCALLS) : []
                }
                return names.compactMap { name in
                    SyscallTable.number(name, abi).flatMap { $0 < CORRAL_SYSCALLS ? first + $0 : nil }
                }
            }
        }
    }

    private static func plan(_ name: String, _ abi: SyscallABI, row: UInt32) -> TracePlan {
        var flags: UInt32 = 0
        switch name {
        case "exit", "exit_group": flags = CORRAL_PLAN_NO_RETURN.rawValue
        case "clone", "clone3", "fork", "vfork": flags = CORRAL_PLAN_RETURNS_TWICE.rawValue
        case "execve", "execveat": flags = CORRAL_PLAN_EXEC.rawValue
        default: break
        }
        let kinds = SyscallDecoder.signature(of: name, abi)?.kinds ?? []
        let captures = kinds.enumerated().compactMap { index, kind in capture(kind, argument: index, abi) }
        return TracePlan(row: row, captures: Array(captures.prefix(Int(CORRAL_CAPTURES))), flags: flags)
    }

    private static func capture(
        _ kind: SyscallSignature.Kind, argument: Int, _ abi: SyscallABI
    ) -> TracePlan.Capture? {
        func capture(_ kind: corral_capture_kind, _ size: UInt8) -> TracePlan.Capture {
            TracePlan.Capture(argument: argument, kind: kind.rawValue, size: size)
        }
        // Pointers, times and sizes of 32-bit programs have other layouts.
        let isNarrow = abi == .i386
        switch kind {
        case .int, .offset, .unsigned, .hex, .octal, .pointer, .fd, .directory, .signal, .flags: return nil
        case .path, .text: return capture(CORRAL_CAPTURE_STRING, 0)
        case .texts: return abi == WireTrace.nativeABI ? capture(CORRAL_CAPTURE_STRINGS, 0) : nil
        case .bytesIn: return capture(CORRAL_CAPTURE_BYTES, 32)
        case .bytesOut: return capture(CORRAL_CAPTURE_RESULT_OUT, 32)
        case .addressIn: return capture(CORRAL_CAPTURE_BYTES, 110)
        case .addressOut: return capture(CORRAL_CAPTURE_LENGTH_OUT, 110)
        case .timeIn: return isNarrow ? nil : capture(CORRAL_CAPTURE_FIXED, 16)
        case .timeOut: return isNarrow ? nil : capture(CORRAL_CAPTURE_FIXED_OUT, 16)
        case .limitIn: return isNarrow ? nil : capture(CORRAL_CAPTURE_FIXED, 16)
        case .limitOut: return isNarrow ? nil : capture(CORRAL_CAPTURE_FIXED_OUT, 16)
        case .statusOut: return isNarrow ? nil : capture(CORRAL_CAPTURE_FIXED_OUT, 56)
        case .pairOut: return capture(CORRAL_CAPTURE_FIXED_OUT, 8)
        case .waitStatusOut, .wordOut: return capture(CORRAL_CAPTURE_FIXED_OUT, 4)
        case .wordIn: return capture(CORRAL_CAPTURE_FIXED, 4)
        case .openHow: return capture(CORRAL_CAPTURE_FIXED, 24)
        case .cloneArguments: return capture(CORRAL_CAPTURE_FIXED, 40)
        }
    }
}
