/// Life of a sandbox as the API shows it.
public enum SandboxState: String, Codable, Sendable, CaseIterable {
    case claimed
    case running
    case paused
    case exited
    case destroyed
}

/// `GET /v1/sandboxes/{id}`. Times are RFC 3339 in UTC.
public struct Sandbox: Codable, Sendable, Equatable {
    public struct AppliedPolicy: Codable, Sendable, Equatable {
        public var name: String
        /// Counts the policies this sandbox has had, from 1.
        public var generation: UInt32
        /// `enforce` or `audit`.
        public var mode: String

        public init(name: String, generation: UInt32, mode: String) {
            self.name = name
            self.generation = generation
            self.mode = mode
        }
    }

    public struct Counters: Codable, Sendable, Equatable {
        public var allowed: UInt64
        public var denied: UInt64
        public var packetsOut: UInt64
        public var bytesOut: UInt64
        public var packetsIn: UInt64
        public var bytesIn: UInt64
        public var events: UInt64
        public var eventsLost: UInt64
        /// Flows that were opened.
        public var connections: UInt64
        /// Frames dropped for the policy's rate.
        public var throttled: UInt64
        /// Refusals for a budget that is used up.
        public var exhausted: UInt64

        public init(
            allowed: UInt64, denied: UInt64, packetsOut: UInt64, bytesOut: UInt64, packetsIn: UInt64, bytesIn: UInt64,
            events: UInt64, eventsLost: UInt64, connections: UInt64, throttled: UInt64, exhausted: UInt64
        ) {
            self.allowed = allowed
            self.denied = denied
            self.packetsOut = packetsOut
            self.bytesOut = bytesOut
            self.packetsIn = packetsIn
            self.bytesIn = bytesIn
            self.events = events
            self.eventsLost = eventsLost
            self.connections = connections
            self.throttled = throttled
            self.exhausted = exhausted
        }
    }

    /// `egress.limits` of the policy in force, with what is used since the sandbox's start.
    public struct Budgets: Codable, Sendable, Equatable {
        public struct Budget: Codable, Sendable, Equatable {
            public var used: UInt64
            /// Absent: no limit.
            public var limit: UInt64?

            public init(used: UInt64, limit: UInt64?) {
                self.used = used
                self.limit = limit
            }
        }

        public var bytes: Budget
        public var connections: Budget
        public var dnsQueries: Budget
        /// Bits a second; absent: no limit.
        public var rate: UInt64?

        public init(bytes: Budget, connections: Budget, dnsQueries: Budget, rate: UInt64?) {
            self.bytes = bytes
            self.connections = connections
            self.dnsQueries = dnsQueries
            self.rate = rate
        }
    }

    public var id: String
    public var name: String
    public var state: SandboxState
    public var image: String
    public var policy: AppliedPolicy
    /// Empty: it waits for others.
    public var command: [String]
    public var ipv4: String
    public var ipv6: String
    /// Of the sandbox's pid 1, on the host.
    public var hostPid: Int32
    public var createdAt: String
    public var startedAt: String?
    public var exitedAt: String?
    /// The command's exit code, 128 + signal when a signal ended it.
    public var exitCode: Int32?
    public var counters: Counters
    public var budgets: Budgets
    public var published: [PublishedPort]
    /// Commands that have not ended, the main one among them.
    public var runningCommands: Int?
    /// In the answer to a create alone.
    public var timing: StartTimes?

    public init(
        id: String, name: String, state: SandboxState, image: String, policy: AppliedPolicy, command: [String],
        ipv4: String, ipv6: String, hostPid: Int32, createdAt: String, startedAt: String?, exitedAt: String?,
        exitCode: Int32?, counters: Counters, budgets: Budgets, published: [PublishedPort]
    ) {
        self.id = id
        self.name = name
        self.state = state
        self.image = image
        self.policy = policy
        self.command = command
        self.ipv4 = ipv4
        self.ipv6 = ipv6
        self.hostPid = hostPid
        self.createdAt = createdAt
        self.startedAt = startedAt
        self.exitedAt = exitedAt
        self.exitCode = exitCode
        self.counters = counters
        self.budgets = budgets
        self.published = published
    }
}

/// A port of the host that leads into a sandbox. The sandbox sees the host as its peer.
public struct PublishedPort: Codable, Sendable, Equatable {
    public enum Transport: String, Codable, Sendable {
        case tcp, udp
    }

    /// Absent: every address of the host.
    public var hostAddress: String?
    /// In a request 0 or absent: a free one, which the answer names.
    public var hostPort: Int?
    public var sandboxPort: Int
    /// In a request absent: TCP.
    public var `protocol`: Transport?

    public init(
        hostAddress: String? = nil, hostPort: Int? = nil, sandboxPort: Int, protocol: Transport? = nil
    ) {
        self.hostAddress = hostAddress
        self.hostPort = hostPort
        self.sandboxPort = sandboxPort
        self.protocol = `protocol`
    }

    /// `[ADDRESS:][HOSTPORT:]PORT[/tcp|/udp]`, an IPv6 address in brackets; nil for anything else.
    public init?(_ text: String) {
        var rest = text[...]
        if let slash = rest.lastIndex(of: "/") {
            guard let transport = Transport(rawValue: String(rest[slash...].dropFirst())) else { return nil }
            `protocol` = transport
            rest = rest[..<slash]
        }
        if rest.hasPrefix("[") {
            guard let end = rest.firstIndex(of: "]"), rest[end...].hasPrefix("]:") else { return nil }
            hostAddress = String(rest[rest.index(after: rest.startIndex)..<end])
            rest = rest[end...].dropFirst(2)
        }
        var parts = rest.split(separator: ":", omittingEmptySubsequences: false)
        if parts.count == 3, hostAddress == nil {
            hostAddress = String(parts.removeFirst())
        } else if hostAddress != nil, parts.count != 2 {
            return nil
        }
        func number(_ text: Substring) -> Int? {
            text.utf8.allSatisfy { (0x30...0x39).contains($0) } ? UInt16(text).map(Int.init) : nil
        }
        guard (1...2).contains(parts.count), let last = number(parts[parts.count - 1]), last > 0 else { return nil }
        sandboxPort = last
        guard parts.count == 2 else { return }
        // `127.0.0.1::80` takes a free port.
        guard let first = parts[0].isEmpty ? 0 : number(parts[0]) else { return nil }
        hostPort = first
    }
}

/// Limits a request sets over those of its policy file, in the policy file's own notation (`0.5`, `256MiB`, `5m`).
public struct LimitOverrides: Codable, Sendable, Equatable {
    public var cpu: Double?
    public var cpuWeight: Int?
    public var memory: String?
    public var pids: Int?
    public var disk: String?
    public var openFiles: Int?
    public var timeout: String?

    public init(
        cpu: Double? = nil, cpuWeight: Int? = nil, memory: String? = nil, pids: Int? = nil, disk: String? = nil,
        openFiles: Int? = nil, timeout: String? = nil
    ) {
        self.cpu = cpu
        self.cpuWeight = cpuWeight
        self.memory = memory
        self.pids = pids
        self.disk = disk
        self.openFiles = openFiles
        self.timeout = timeout
    }
}

/// A policy as text, with the name to show in errors about it. `PUT /v1/sandboxes/{id}/policy` → 200 `Sandbox`.
public struct PolicySource: Codable, Sendable, Equatable {
    /// File name for error messages; never opened.
    public var file: String
    public var yaml: String

    public init(file: String, yaml: String) {
        self.file = file
        self.yaml = yaml
    }
}

/// `POST /v1/sandboxes` → 201 `Sandbox`. Claims a sandbox and starts `command` in it.
public struct CreateSandboxRequest: Codable, Sendable, Equatable {
    /// Unique among live sandboxes; made from the id when absent. 1–63 of `[a-zA-Z0-9_.-]`, the first alphanumeric.
    public var name: String?
    /// `host` when absent here and in the policy.
    public var image: String?
    /// Absent: nothing is let out.
    public var policy: PolicySource?
    /// Absent: the sandbox waits for commands until it is removed, its timeout is over, or corrald ends.
    public var command: [String]?
    /// Over the policy's `env`.
    public var env: [String: String]?
    /// `/home/user` when absent.
    public var workingDirectory: String?
    public var limits: LimitOverrides?
    /// Give the command a pipe as stdin, fed by `attach`. Absent: /dev/null.
    public var stdin: Bool?
    /// Absent: root, without any capability.
    public var user: CommandUser?
    /// A terminal in the place of the pipes.
    public var terminal: TerminalSize?
    /// Take the command's output although no client is attached. Absent: it waits in its pipes for the first client.
    public var detach: Bool?
    /// Destroy the sandbox once the command has ended and its output has been read. Absent: true.
    public var autoRemove: Bool?
    /// Refused unless corrald runs with `--allow-test-switches`.
    public var testSwitches: TestSwitches?
    public var publish: [PublishedPort]?
    /// Content of /run/secrets/NAME by its name, in base64 (RFC 4648); at most 32, each of 64 KiB.
    public var secrets: [String: String]?
    /// Beside those of the policy.
    public var mounts: [MountRequest]?
    /// A snapshot to start from.
    public var from: String?
    /// Without a command run the image's own.
    public var imageCommand: Bool?

    public struct TestSwitches: Codable, Sendable, Equatable {
        public var keepCapabilities: Bool?
        public var noSeccomp: Bool?

        public init(keepCapabilities: Bool? = nil, noSeccomp: Bool? = nil) {
            self.keepCapabilities = keepCapabilities
            self.noSeccomp = noSeccomp
        }
    }

    public init(
        name: String? = nil, image: String? = nil, policy: PolicySource? = nil, command: [String]? = nil,
        env: [String: String]? = nil, workingDirectory: String? = nil, limits: LimitOverrides? = nil,
        stdin: Bool? = nil, user: CommandUser? = nil, terminal: TerminalSize? = nil, detach: Bool? = nil,
        autoRemove: Bool? = nil, testSwitches: TestSwitches? = nil, publish: [PublishedPort]? = nil,
        secrets: [String: String]? = nil, mounts: [MountRequest]? = nil, from: String? = nil,
        imageCommand: Bool? = nil
    ) {
        self.name = name
        self.image = image
        self.policy = policy
        self.command = command
        self.env = env
        self.workingDirectory = workingDirectory
        self.limits = limits
        self.stdin = stdin
        self.user = user
        self.terminal = terminal
        self.detach = detach
        self.autoRemove = autoRemove
        self.testSwitches = testSwitches
        self.publish = publish
        self.secrets = secrets
        self.mounts = mounts
        self.from = from
        self.imageCommand = imageCommand
    }
}

/// `POST /v1/sandboxes/{id}/kill` → 204.
public struct KillRequest: Codable, Sendable, Equatable {
    /// `KILL`, `SIGTERM` or a number. Absent: `KILL`, which ends the sandbox as a whole.
    public var signal: String?
    /// Absent: the main command.
    public var exec: String?

    public init(signal: String? = nil, exec: String? = nil) {
        self.signal = signal
        self.exec = exec
    }
}
