/// What becomes of each system call of a command, as data. Of x86-64; calls of i386 and x32 fail with ENOSYS in every profile.
public struct SyscallProfile: Sendable, Hashable {
    public enum Answer: String, Sendable, CaseIterable {
        case allowed
        /// Fails with EPERM.
        case refused
        /// Fails with ENOSYS, so that a library falls back to what it did before the call existed.
        case absent
        /// Ends the whole process with SIGSYS.
        case killed
        /// Allowed, and told to the kernel's log.
        case logged

        public var isPermitted: Bool { self == .allowed || self == .logged }
    }

    /// Of an argument, the low 32 bits, masked.
    public struct ArgumentTest: Sendable, Hashable {
        public var argument: UInt32
        public var mask: UInt32
        public var value: UInt32

        init(_ argument: UInt32, mask: UInt32 = .max, is value: UInt32) {
            self.argument = argument
            self.mask = mask
            self.value = value
        }
    }

    /// What the arguments have to be; where they are not, the call fails with EPERM.
    public struct Condition: Sendable, Hashable {
        public enum Test: Sendable, Hashable {
            /// All tests of one of the alternatives hold.
            case oneOf([[ArgumentTest]])
            /// The argument is none of these, at most 64.
            case noneOf(argument: UInt32, values: [UInt32])
        }

        public var test: Test
        /// For people.
        public var text: String
    }

    public struct Rule: Sendable, Hashable {
        public var answer: Answer
        /// Nil: whatever the arguments are.
        public var condition: Condition?

        public init(_ answer: Answer, _ condition: Condition? = nil) {
            self.answer = answer
            self.condition = condition
        }
    }

    /// By the call's name.
    public var rules: [String: Rule]
    /// Of calls that no rule names: `allowed` or `refused`.
    public var fallback: Answer

    /// Calls with a greater number are absent unless the fallback allows them.
    public static let newestCall: UInt32 = SyscallTable.names(.amd64).values.max() ?? 0

    public func rule(for call: String) -> Rule { rules[call] ?? Rule(fallback) }
}

/// `syscalls` of a policy.
public struct SyscallPolicy: Sendable, Hashable {
    public enum Profile: String, Sendable, CaseIterable {
        case standard = "default"
        case strict
        /// What starts and ends a process, and what depends on chance; the rest is what `allow` names.
        case none
        case unconfined
    }

    public enum Action: String, Sendable, CaseIterable {
        case errno
        case kill
        case log

        /// Of two for the same call the stricter holds.
        fileprivate var strictness: Int {
            switch self {
            case .log: 0
            case .errno: 1
            case .kill: 2
            }
        }
    }

    public var profile: Profile
    /// Names of calls, on top of the profile. A condition that the profile puts on one stays; one that the profile refuses
    /// and the default permits on a condition is permitted on that condition.
    public var allow: Set<String>
    /// Likewise, and no condition stays.
    public var allowAnyArguments: Set<String>
    /// Beats both.
    public private(set) var deny: [String: Action]

    public init(
        profile: Profile = .standard, allow: Set<String> = [], allowAnyArguments: Set<String> = [],
        deny: [String: Action] = [:]
    ) {
        self.profile = profile
        self.allow = allow
        self.allowAnyArguments = allowAnyArguments
        self.deny = deny
    }

    public mutating func deny(_ call: String, _ action: Action) {
        deny[call] = [deny[call], action].compactMap { $0 }.max { $0.strictness < $1.strictness }
    }

    /// What all of it comes to. Names that x86-64 does not have are left out.
    public var resolved: SyscallProfile {
        var result = SyscallProfile.named(profile)
        // A call that the profile leaves out and the default has on conditions comes with these.
        let conditions = SyscallProfile.named(.standard).rules.compactMapValues(\.condition)
        for call in allow where !result.rule(for: call).answer.isPermitted {
            result.rules[call] = .init(.allowed, conditions[call])
        }
        for call in allowAnyArguments { result.rules[call] = .init(.allowed) }
        for (call, action) in deny {
            let rule = result.rule(for: call)
            switch action {
            case .errno: result.rules[call] = .init(.refused)
            case .kill: result.rules[call] = .init(.killed)
            // Never opens what was shut.
            case .log: if rule.answer.isPermitted { result.rules[call] = .init(.logged, rule.condition) }
            }
        }
        result.rules = result.rules.filter { SyscallTable.number($0.key, .amd64) != nil }
        return result
    }
}
