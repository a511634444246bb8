/// What file descriptors stand for, inferred from the calls that were seen: those that make a descriptor, copy it or close it.
///
/// Nothing asks the kernel. What was opened before the trace, came through a socket, or was made by a call that is not traced
/// is not known; so each name is a guess and marked as one, `3<≈/etc/hosts>`.
public struct DescriptorNames: Sendable {
    private struct Name {
        var text: String
        var closesOnExec = false
    }

    private static let mostProcesses = 4096
    private static let mostDescriptors = 4096

    /// By the host pid of the process.
    private var processes: [UInt32: [Int32: Name]] = [:]

    public init() {}

    /// The event with the names of descriptors among its arguments; remembers what it tells of descriptors.
    public mutating func named(_ event: Event) -> Event {
        switch event.body {
        case .syscall(let call):
            var event = event
            event.body = .syscall(named(call))
            learn(call)
            return event
        case .process(let change):
            learn(change)
            return event
        default: return event
        }
    }

    private func named(_ call: Syscall) -> Syscall {
        guard let known = processes[call.process.hostPid], !known.isEmpty,
            let kinds = SyscallDecoder.signature(of: call.name, call.abi)?.kinds
        else { return call }
        var call = call
        for (index, kind) in kinds.enumerated() where index < call.arguments.count {
            guard kind == .fd || kind == .directory, let number = Int32(call.arguments[index]),
                let name = known[number]
            else { continue }
            call.arguments[index] += "<≈\(name.text)>"
        }
        return call
    }

    private mutating func learn(_ change: ProcessChange) {
        let pid = change.process.hostPid
        switch change.action {
        case .exec: processes[pid] = processes[pid]?.filter { !$0.value.closesOnExec }
        case .fork(let child):
            guard processes.count < Self.mostProcesses else { return }
            processes[child.hostPid] = processes[pid]
        case .exit: processes[pid] = nil
        }
    }

    private mutating func learn(_ call: Syscall) {
        guard case .returned(let result) = call.outcome else { return }
        let pid = call.process.hostPid
        func argument(_ index: Int) -> String { index < call.arguments.count ? call.arguments[index] : "" }
        func number(_ index: Int) -> Int32? { Int32(argument(index)) }
        let closesOnExec = call.arguments.contains { $0.contains("CLOEXEC") }
        // It is closed whatever close returns.
        if call.name == "close", let closed = number(0) {
            processes[pid]?[closed] = nil
            return
        }
        if call.name == "connect", let descriptor = number(0), let address = Self.address(argument(1)) {
            processes[pid]?[descriptor]?.text = "→\(address)"
            return
        }
        guard result >= 0, let made = Int32(exactly: result) else { return }
        switch call.name {
        case "open", "creat": put(Self.text(argument(0)), made, pid, closesOnExec)
        case "openat", "openat2":
            var path = Self.text(argument(1))
            if !path.hasPrefix("/"), let directory = number(0).flatMap({ processes[pid]?[$0] }) {
                path = "\(directory.text)/\(path)"
            }
            put(path, made, pid, closesOnExec)
        case "socket": put("\(argument(0)) \(argument(1).split(separator: "|").first ?? "")", made, pid, closesOnExec)
        case "accept", "accept4": put(Self.address(argument(1)).map { "←\($0)" } ?? "accepted", made, pid, closesOnExec)
        case "pipe", "pipe2": putPair(argument(0), "pipe", pid, closesOnExec)
        case "socketpair": putPair(argument(3), "socketpair", pid, closesOnExec)
        case "eventfd", "eventfd2", "epoll_create", "epoll_create1", "timerfd_create", "memfd_create", "inotify_init",
            "inotify_init1", "signalfd", "signalfd4", "pidfd_open", "userfaultfd":
            put(call.name, made, pid, closesOnExec)
        case "dup", "dup2", "dup3": copy(number(0), to: made, pid, closesOnExec)
        case "fcntl", "fcntl64":
            if argument(1).hasPrefix("F_DUPFD") { copy(number(0), to: made, pid, closesOnExec) }
        case "close_range":
            guard let first = UInt32(argument(0)), let last = UInt32(argument(1)), !argument(2).contains("CLOEXEC")
            else { return }
            processes[pid] = processes[pid]?.filter { !(first...max(first, last)).contains(UInt32(bitPattern: $0.key)) }
        default: break
        }
    }

    private mutating func put(_ text: String, _ descriptor: Int32, _ pid: UInt32, _ closesOnExec: Bool) {
        guard processes[pid] != nil || processes.count < Self.mostProcesses,
            processes[pid]?.count ?? 0 < Self.mostDescriptors
        else { return }
        processes[pid, default: [:]][descriptor] = Name(text: text, closesOnExec: closesOnExec)
    }

    private mutating func putPair(_ pair: String, _ text: String, _ pid: UInt32, _ closesOnExec: Bool) {
        for part in pair.dropFirst().dropLast().split(separator: ",") {
            guard let descriptor = Int32(part.drop { $0 == " " }) else { continue }
            put(text, descriptor, pid, closesOnExec)
        }
    }

    private mutating func copy(_ from: Int32?, to made: Int32, _ pid: UInt32, _ closesOnExec: Bool) {
        guard let name = from.flatMap({ processes[pid]?[$0] }) else {
            processes[pid]?[made] = nil
            return
        }
        put(name.text, made, pid, closesOnExec)
    }

    /// Without the quotes that the decoder puts around it.
    private static func text(_ argument: String) -> String {
        guard argument.hasPrefix("\"") else { return argument }
        let isCut = argument.hasSuffix("...")
        return String(argument.dropFirst().dropLast(isCut ? 4 : 1)) + (isCut ? "…" : "")
    }

    /// `203.0.113.9:443` of a socket address as the decoder writes it; nil for what has no such address.
    static func address(_ argument: String) -> String? {
        func inside(_ before: String, _ after: Character) -> Substring? {
            guard let start = argument.range(of: before) else { return nil }
            return argument[start.upperBound...].prefix { $0 != after }
        }
        if let path = inside("sun_path=\"", "\"") { return String(path) }
        if let address = inside("inet_addr(\"", "\""), let port = inside("sin_port=htons(", ")") {
            return "\(address):\(port)"
        }
        if let address = inside("inet_pton(AF_INET6, \"", "\""), let port = inside("sin6_port=htons(", ")") {
            return "[\(address)]:\(port)"
        }
        return nil
    }
}

extension String {
    /// Where `text` stands first; without Foundation.
    fileprivate func range(of text: String) -> Range<String.Index>? {
        var start = startIndex
        while start < endIndex {
            if self[start...].hasPrefix(text) { return start..<index(start, offsetBy: text.count) }
            start = index(after: start)
        }
        return nil
    }
}
