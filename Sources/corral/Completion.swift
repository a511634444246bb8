internal import ArgumentParser

struct Completion: ClientCommand {
    static let configuration = CommandConfiguration(
        abstract: "Print the completion script for a shell.",
        discussion: """
            For this session: eval "$(corral completion bash)". For all: packages put it where the shell looks; by hand, bash \
            takes /etc/bash_completion.d/corral, zsh a file _corral on its fpath, fish ~/.config/fish/completions/corral.fish.
            """
    )

    @Argument(help: ArgumentHelp("bash, zsh or fish.", valueName: "shell"))
    var shell: Shell

    enum Shell: String, ExpressibleByArgument, CaseIterable {
        case bash
        case zsh
        case fish
    }

    func execute() throws {
        guard let shell = CompletionShell(rawValue: shell.rawValue) else {
            throw ValidationError("No completion for \(shell.rawValue).")
        }
        try Output.write(Corral.completionScript(for: shell) + "\n")
    }
}
