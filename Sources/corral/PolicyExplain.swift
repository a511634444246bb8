internal import ArgumentParser
internal import CorralEvents
internal import CorralPolicy

/// What a policy is judged against beside its text.
struct HostOptions: ParsableArguments {
    @Option(
        name: .customLong("pool"),
        help: ArgumentHelp(
            "A block that corrald gives its sandboxes addresses from. May be repeated.", valueName: "cidr"),
        transform: { text in
            guard let prefix = IPPrefix(text) else { throw ValidationError("no block of addresses") }
            return prefix
        })
    var pools: [IPPrefix] = []

    @Option(
        name: .customLong("host-address"),
        help: ArgumentHelp(
            "An address of the host that is judged for. May be repeated.",
            valueName: "ip"),
        transform: { text in
            guard let address = IPAddress(text) else { throw ValidationError("no address") }
            return address
        })
    var addresses: [IPAddress] = []

    /// With this host's own addresses when none is named.
    var context: HostContext {
        var context = namedContext
        if addresses.isEmpty { context.hostAddresses = HostAddresses.now() }
        return context
    }

    /// The same on every host.
    var namedContext: HostContext {
        HostContext(hostAddresses: addresses.map { IPPrefix($0, length: 128) }, sandboxPools: pools)
    }
}

struct PolicyExplain: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "explain",
        abstract:
            "Say what a policy does with an address, a name or a file, and which rule decides; or with system calls.",
        discussion: """
            With --syscalls, lists every system call by what becomes of it: what the profile, the policy's allow and its deny \
            come to.

            Judges with the addresses that this host has now. Those of corrald's sandboxes are not looked up: name its \
            blocks with --pool. An IPv6 address with a port goes in brackets: [2001:db8::1]:443/tcp.
            """
    )

    @Argument(help: ArgumentHelp("Policy file.", valueName: "file"))
    var file: String

    @Argument(
        help: ArgumentHelp(
            "Where a packet would go; or exec:, read: or write: and a path.", valueName: "destination[:port][/protocol]"
        ))
    var destination: String?

    @Flag(help: "List what becomes of each system call; without a destination.")
    var syscalls = false

    @OptionGroup var host: HostOptions

    func validate() throws {
        if syscalls == (destination != nil) { throw ValidationError("Name a destination, or give --syscalls.") }
    }

    func execute() throws {
        let policy = try PolicyFile.load(file)
        guard let destination else {
            try Output.write("profile \(policy.syscalls.profile.rawValue)\n\(policy.syscalls.resolved)\n")
            return
        }
        let endpoint: Endpoint
        do throws(Endpoint.ParseError) {
            endpoint = try Endpoint.parse(destination)
        } catch {
            throw ValidationError(TerminalText.lines(error.description))
        }
        let explanation = policy.explain(endpoint, host: host.context)
        var text = "\(explanation)\n"
        // A pool is of private addresses.
        if host.pools.isEmpty, explanation.decision.reason != .reservedAddress, case .address(let target) = endpoint,
            !target.address.isGlobalUnicast
        {
            text +=
                "note: without --pool it is not known whether \(target.address) belongs to a sandbox, whose addresses are "
            text += "reserved\n"
        }
        try Output.write(TerminalText.lines(text))
    }
}
