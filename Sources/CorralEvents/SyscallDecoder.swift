internal import CorralPolicy

/// Memory that an argument points to, copied by the kernel side.
struct SyscallCapture: Sendable, Equatable {
    var argument: Int
    /// There was more.
    var isCut: Bool
    var isReadable: Bool
    var bytes: [UInt8]
}

/// Writes the arguments of one call.
struct SyscallDecoder {
    let name: String?
    let abi: SyscallABI
    let arguments: [UInt64]
    let result: Int64
    let captures: [SyscallCapture]

    func decoded() -> [String] {
        if abi == .ioUring { return ringOperation }
        return decoded(by: name.flatMap { Self.signature(of: $0, abi) })
    }

    /// - Parameter signature: of `name`; nil when it has none.
    func decoded(by signature: SyscallSignature?) -> [String] {
        guard let signature else { return arguments.map(hexadecimal) }
        var texts: [String] = []
        for (index, kind) in signature.kinds.enumerated() where index < arguments.count {
            if signature.hasOptionalMode, index == signature.kinds.count - 1,
                !SyscallFlags.makesFile(arguments[index - 1])
            {
                break
            }
            texts.append(text(index, kind))
        }
        return texts
    }

    /// Who reads a ring's completions knows an operation by its mark.
    private var ringOperation: [String] {
        let descriptor = name.map(SyscallTable.isOfFile(ringOperation:)) == true ? [text(0, .fd)] : []
        return descriptor + ["user_data=" + text(1, .hex)]
    }

    /// Calls of 32-bit programs have arguments in other orders and memory of other layouts.
    static func signature(of name: String, _ abi: SyscallABI) -> SyscallSignature? {
        if abi == .i386, otherOnI386.contains(name) { return nil }
        return SyscallSignature.of(name)
    }

    private static let otherOnI386: Set<String> = [
        "mmap", "clone", "select", "pread64", "pwrite64", "truncate64", "fadvise64", "sync_file_range", "fallocate",
    ]

    private func text(_ index: Int, _ kind: SyscallSignature.Kind) -> String {
        let value = arguments[index]
        let word = UInt32(truncatingIfNeeded: value)
        switch kind {
        case .int: return String(Int32(bitPattern: word))
        case .offset: return String(Int64(bitPattern: value))
        case .unsigned: return String(value)
        case .hex: return value == 0 ? "0" : hexadecimal(value)
        case .octal: return "0" + (word == 0 ? "" : String(word, radix: 8))
        case .pointer: return pointer(value)
        case .fd: return String(Int32(bitPattern: word))
        case .directory: return Int32(bitPattern: word) == -100 ? "AT_FDCWD" : String(Int32(bitPattern: word))
        case .signal: return word == 0 ? "0" : SignalNumber.name(word)
        case .flags(let set): return SyscallFlags.text(UInt64(word), set, abi)
        case .path, .text: return memory(index) { quoted($0.bytes, isText: true, isCut: $0.isCut) }
        case .bytesIn, .bytesOut: return memory(index) { quoted($0.bytes, isText: false, isCut: $0.isCut) }
        case .texts: return strings(index)
        case .addressIn, .addressOut: return memory(index) { SocketAddressText.text($0.bytes) ?? pointer(value) }
        case .timeIn, .timeOut:
            return memory(index) { capture in
                guard let seconds = capture.signed(0), let nanoseconds = capture.signed(8) else {
                    return pointer(value)
                }
                return "{tv_sec=\(seconds), tv_nsec=\(nanoseconds)}"
            }
        case .pairOut:
            return memory(index) { capture in
                guard let first = capture.word(0), let second = capture.word(4) else { return pointer(value) }
                return "[\(Int32(bitPattern: first)), \(Int32(bitPattern: second))]"
            }
        case .waitStatusOut:
            // Without a child that has changed, nothing is written there.
            guard result > 0 else { return pointer(value) }
            return memory(index) { $0.word(0).map(Self.waitStatus) ?? pointer(value) }
        case .wordIn, .wordOut:
            return memory(index) { $0.word(0).map { "[\(Int32(bitPattern: $0))]" } ?? pointer(value) }
        case .openHow:
            return memory(index) { capture in
                guard let flags = capture.long(0), let mode = capture.long(8), let resolve = capture.long(16) else {
                    return pointer(value)
                }
                let modeText = SyscallFlags.makesFile(flags) ? ", mode=0\(String(mode, radix: 8))" : ""
                return
                    "{flags=\(SyscallFlags.text(flags, SyscallFlags.open, abi))\(modeText), resolve=\(hexadecimal(resolve))}"
            }
        case .cloneArguments:
            return memory(index) { capture in
                guard let flags = capture.long(0), let signal = capture.long(32) else { return pointer(value) }
                let exit = signal == 0 ? "0" : SignalNumber.name(signal)
                return "{flags=\(SyscallFlags.text(flags & ~0xff, SyscallFlags.clone, abi)), exit_signal=\(exit)}"
            }
        case .limitIn, .limitOut:
            return memory(index) { capture in
                guard let current = capture.long(0), let most = capture.long(8) else { return pointer(value) }
                return "{rlim_cur=\(Self.limit(current)), rlim_max=\(Self.limit(most))}"
            }
        case .statusOut:
            return memory(index) { capture in
                guard let mode = capture.word(abi == .arm64 ? 16 : 24), let size = capture.signed(48) else {
                    return pointer(value)
                }
                return "{st_mode=\(Self.mode(mode)), st_size=\(size), ...}"
            }
        }
    }

    /// What was copied of an argument; the pointer where nothing was to be copied, and a mark where it could not be.
    private func memory(_ index: Int, _ write: (SyscallCapture) -> String) -> String {
        let value = arguments[index]
        guard value != 0 else { return "NULL" }
        guard let capture = captures.first(where: { $0.argument == index }) else { return pointer(value) }
        return capture.isReadable ? write(capture) : pointer(value) + " /* unreadable */"
    }

    private func strings(_ index: Int) -> String {
        guard arguments[index] != 0 else { return "NULL" }
        let items = captures.filter { $0.argument == index }
        guard !items.isEmpty else { return pointer(arguments[index]) }
        return "["
            + items.map { $0.isReadable ? quoted($0.bytes, isText: true, isCut: $0.isCut) : "/* unreadable */" }
            .joined(separator: ", ") + "]"
    }

    // MARK: notation

    private func hexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

    private func pointer(_ value: UInt64) -> String { value == 0 ? "NULL" : hexadecimal(value) }

    private static func limit(_ value: UInt64) -> String {
        value == .max ? "RLIM64_INFINITY" : String(value)
    }

    private static func mode(_ mode: UInt32) -> String {
        let kinds: [UInt32: String] = [
            0o140000: "S_IFSOCK", 0o120000: "S_IFLNK", 0o100000: "S_IFREG", 0o060000: "S_IFBLK", 0o040000: "S_IFDIR",
            0o020000: "S_IFCHR", 0o010000: "S_IFIFO",
        ]
        let permissions = "0" + String(mode & 0o7777, radix: 8)
        return kinds[mode & 0o170000].map { "\($0)|\(permissions)" } ?? "0" + String(mode, radix: 8)
    }

    private static func waitStatus(_ status: UInt32) -> String {
        let signal = status & 0x7f
        if signal == 0 { return "[{WIFEXITED(s) && WEXITSTATUS(s) == \(status >> 8 & 0xff)}]" }
        if status & 0xff == 0x7f {
            return "[{WIFSTOPPED(s) && WSTOPSIG(s) == \(SignalNumber.name(status >> 8 & 0xff))}]"
        }
        let core = status & 0x80 != 0 ? " && WCOREDUMP(s)" : ""
        return "[{WIFSIGNALED(s) && WTERMSIG(s) == \(SignalNumber.name(signal))\(core)}]"
    }

    /// In double quotes, with the escapes of C; `...` behind what was cut. Text that is UTF-8 and harmless stays as it is.
    private func quoted(_ bytes: [UInt8], isText: Bool, isCut: Bool) -> String {
        let end = isCut ? "\"..." : "\""
        if isText, let text = String(validating: bytes, as: UTF8.self),
            !text.unicodeScalars.contains(where: {
                $0 == "\"" || $0 == "\\" || $0.value < 0x20 || TerminalText.isUnsafe($0)
            })
        {
            return "\"" + text + end
        }
        var text = "\""
        for byte in bytes {
            switch byte {
            case UInt8(ascii: "\""): text += "\\\""
            case UInt8(ascii: "\\"): text += "\\\\"
            case UInt8(ascii: "\n"): text += "\\n"
            case UInt8(ascii: "\r"): text += "\\r"
            case UInt8(ascii: "\t"): text += "\\t"
            case 0x20...0x7e: text.unicodeScalars.append(Unicode.Scalar(byte))
            default:
                let digits = String(byte, radix: 8)
                text += "\\" + String(repeating: "0", count: 3 - digits.count) + digits
            }
        }
        return text + end
    }
}

extension SyscallCapture {
    /// Of the byte order of the machine, as every integer in memory of a program; nil past the end.
    private func load<Value: FixedWidthInteger>(_ offset: Int, as type: Value.Type) -> Value? {
        guard offset + MemoryLayout<Value>.size <= bytes.count else { return nil }
        return bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: Value.self) }
    }

    func word(_ offset: Int) -> UInt32? { load(offset, as: UInt32.self) }
    func long(_ offset: Int) -> UInt64? { load(offset, as: UInt64.self) }
    func signed(_ offset: Int) -> Int64? { load(offset, as: Int64.self) }
}

/// struct sockaddr as strace writes it.
enum SocketAddressText {
    /// Nil when it is too short to say.
    static func text(_ bytes: [UInt8]) -> String? {
        guard bytes.count >= 2 else { return nil }
        let family = UInt64(bytes[0]) | UInt64(bytes[1]) << 8
        let name = SyscallFlags.text(family, SyscallFlags.family, .amd64)
        switch family {
        case 1: return "{sa_family=\(name)" + unixPath(Array(bytes.dropFirst(2))) + "}"
        case 2:
            guard bytes.count >= 8 else { return nil }
            let address = IPAddress(networkBytes: bytes[4..<8])?.description ?? "?"
            return "{sa_family=\(name), sin_port=htons(\(port(bytes))), sin_addr=inet_addr(\"\(address)\")}"
        case 10:
            guard bytes.count >= 24 else { return nil }
            let address = ipv6(bytes[8..<24])
            return "{sa_family=\(name), sin6_port=htons(\(port(bytes))), inet_pton(AF_INET6, \"\(address)\")}"
        default: return "{sa_family=\(name), ...}"
        }
    }

    private static func ipv6(_ bytes: ArraySlice<UInt8>) -> String {
        guard let address = IPAddress(networkBytes: bytes) else { return "?" }
        return address.ipv4 == nil ? address.description : "::ffff:\(address)"
    }

    private static func port(_ bytes: [UInt8]) -> Int { Int(bytes[2]) << 8 | Int(bytes[3]) }

    /// An abstract name begins with a zero byte, which is written as `@`.
    private static func unixPath(_ bytes: [UInt8]) -> String {
        guard let first = bytes.first else { return "" }
        let name = first == 0 ? bytes.dropFirst() : bytes.prefix { $0 != 0 }
        let text = TerminalText.neutralised(String(decoding: name, as: UTF8.self))
        let escaped = text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\\\"")
        return ", sun_path=" + (first == 0 ? "@" : "") + "\"\(escaped)\""
    }
}
