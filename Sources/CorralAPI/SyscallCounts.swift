/// `GET /v1/sandboxes/{id}/syscalls`, and the last line of `GET /v1/sandboxes/{id}/trace`.
public struct SyscallCounts: Codable, Sendable, Equatable {
    public struct Entry: Codable, Sendable, Equatable {
        public var name: String
        /// As in events: `x86_64`, `i386`, …
        public var abi: String
        public var calls: UInt64
        public var errors: UInt64
        /// Refused by seccomp; in `errors` too.
        public var refused: UInt64
        /// Nanoseconds that they took together.
        public var durationNs: UInt64

        public init(name: String, abi: String, calls: UInt64, errors: UInt64, refused: UInt64, durationNs: UInt64) {
            self.name = name
            self.abi = abi
            self.calls = calls
            self.errors = errors
            self.refused = refused
            self.durationNs = durationNs
        }
    }

    /// Those that were made, the most frequent first.
    public var syscalls: [Entry]

    public init(syscalls: [Entry]) {
        self.syscalls = syscalls
    }

    /// What has come since `before`.
    public func since(_ before: SyscallCounts) -> SyscallCounts {
        let earlier = Dictionary(before.syscalls.map { ("\($0.abi) \($0.name)", $0) }) { first, _ in first }
        return SyscallCounts(
            syscalls: syscalls.compactMap { now in
                guard let then = earlier["\(now.abi) \(now.name)"] else { return now }
                guard now.calls > then.calls else { return nil }
                return Entry(
                    name: now.name, abi: now.abi, calls: now.calls &- then.calls, errors: now.errors &- then.errors,
                    refused: now.refused &- then.refused, durationNs: now.durationNs &- then.durationNs)
            })
    }
}
