internal import ArgumentParser
internal import CorralAPI

@main
struct Corral: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "corral",
        abstract: "Runs commands in sandboxes that reach only what their policy names, and shows what was refused and why.",
        version: "corral \(Release.version)",
        subcommands: [
            Run.self, Ps.self, Inspect.self, Kill.self, Remove.self, Tail.self, PolicyCommand.self, Pool.self, Doctor.self,
            Version.self,
        ]
    )
}
