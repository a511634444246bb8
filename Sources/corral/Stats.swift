internal import ArgumentParser
internal import CorralAPI
internal import CorralEvents

struct Stats: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show what sandboxes have sent, received and used of their budgets.",
        discussion: "Without names, of all that run. A table on a terminal; elsewhere tabs, without the heading."
    )

    @OptionGroup var connection: ConnectionOptions

    @Argument(help: "Sandboxes by id or name.")
    var sandbox: [String] = []

    func execute() throws {
        let client = try connection.client()
        let sandboxes =
            sandbox.isEmpty
            ? try client.sandboxes().filter(\.isAlive)
            : try sandbox.map { reference throws(ClientError) in try client.sandbox(reference) }
        try Output.write(
            table: ["NAME", "STATE", "SENT", "RECEIVED", "CONNECTIONS", "NAMES", "RATE", "ALLOWED", "DENIED"],
            sandboxes.map { sandbox in
                let budgets = sandbox.budgets
                return [
                    TerminalText.neutralised(sandbox.name), sandbox.state.rawValue, Self.text(budgets.bytes),
                    "\(sandbox.counters.bytesIn)", Self.text(budgets.connections), Self.text(budgets.dnsQueries),
                    budgets.rate.map { "\($0) bit/s" } ?? "-", "\(sandbox.counters.allowed)",
                    "\(sandbox.counters.denied)",
                ]
            }
        )
    }

    /// `120`, `120/1000`.
    private static func text(_ budget: Sandbox.Budgets.Budget) -> String {
        budget.limit.map { "\(budget.used)/\($0)" } ?? "\(budget.used)"
    }
}
