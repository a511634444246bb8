internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents

struct Enforce: ClientCommand {
    static let configuration = CommandConfiguration(
        commandName: "enforce",
        abstract: "Put a policy on a cgroup that Corral did not make, such as a service's or a container's.",
        discussion: """
            It holds for every process of the cgroup and below it, those that run already too, and goes on without corrald \
            until --remove. Weaker than a sandbox: the network namespace is shared, so that a process with CAP_NET_RAW can \
            send frames past it; names are not resolved, so that the policy may have no domain rules; connections that a \
            server of the cgroup accepts are not judged.
            """
    )

    @OptionGroup var connection: ConnectionOptions

    @Option(help: ArgumentHelp("Directory of a cgroup v2, absolute or below its mount.", valueName: "path"))
    var cgroup: String?

    @Option(help: ArgumentHelp("The cgroup that this process is in.", valueName: "number"))
    var pid: Int?

    @Option(help: ArgumentHelp("Policy file.", valueName: "file"))
    var policy: String?

    @Flag(help: "List enforced cgroups.")
    var list = false

    @Option(help: ArgumentHelp("Take the policy off an enforced cgroup.", valueName: "id"))
    var remove: String?

    func validate() throws {
        let actions = [cgroup != nil || pid != nil || policy != nil, list, remove != nil].filter { $0 }.count
        guard actions == 1 else {
            throw ValidationError("Expected --cgroup or --pid with --policy, or --list, or --remove.")
        }
        if list || remove != nil { return }
        guard (cgroup == nil) != (pid == nil), policy != nil else {
            throw ValidationError("Expected one of --cgroup and --pid, and --policy.")
        }
    }

    func execute() throws {
        let client = try connection.client()
        if let remove {
            try client.releaseEnforcement(remove)
            return try Output.write(TerminalText.neutralised(remove) + "\n")
        }
        guard let policy else {
            return try Output.write(
                table: ["ID", "POLICY", "MODE", "ALLOWED", "DENIED", "CGROUP"],
                client.enforcements().map { entry in
                    [
                        TerminalText.neutralised(entry.id), TerminalText.neutralised(entry.policy.name),
                        entry.policy.mode, "\(entry.counters.allowed)", "\(entry.counters.denied)",
                        TerminalText.neutralised(entry.cgroup),
                    ]
                }
            )
        }
        let entry = try client.enforce(
            EnforceRequest(
                cgroup: cgroup, pid: pid, policy: PolicySource(file: policy, yaml: try TextFile.read(policy))))
        try Output.write(
            TerminalText.neutralised(
                "\(entry.id): policy \(entry.policy.name), generation \(entry.policy.generation), on \(entry.cgroup)")
                + "\n")
    }
}
