internal import CorralKernel

/// A command of a live sandbox. The engine's actor alone touches it.
final class LiveCommand {
    enum State {
        case starting(CheckedContinuation<CommandSession, any Error>?)
        case running(startedAt: Int64)
        case exited(startedAt: Int64, exitedAt: Int64, result: CommandResult)

        /// Without whoever waits for its start.
        init(_ state: CommandInfo.State) {
            self =
                switch state {
                case .starting: .starting(nil)
                case .running(let startedAt): .running(startedAt: startedAt)
                case .exited(let startedAt, let exitedAt, let result):
                    .exited(startedAt: startedAt, exitedAt: exitedAt, result: result)
                }
        }

        var info: CommandInfo.State {
            switch self {
            case .starting: .starting
            case .running(let startedAt): .running(startedAt: startedAt)
            case .exited(let startedAt, let exitedAt, let result):
                .exited(startedAt: startedAt, exitedAt: exitedAt, result: result)
            }
        }
    }

    /// corral-init's number for it.
    let tag: UInt64
    let id: String
    let spec: CommandSpec
    /// Inside; 0 before it runs.
    var pid: Int32 = 0
    var state = State.starting(nil)
    var session: CommandSession?
    /// Attached now, and ever.
    var readers = 0
    var wasAttached = false
    /// It was told to end by us.
    var endCause: CommandResult.Cause?

    init(tag: UInt64, id: String, spec: CommandSpec) {
        self.tag = tag
        self.id = id
        self.spec = spec
    }

    /// Of the command that the sandbox was made for.
    static let mainTag: UInt64 = 1
    static let mainID = "main"

    var isMain: Bool { tag == Self.mainTag }

    var hasEnded: Bool {
        if case .exited = state { return true }
        return false
    }

    /// The answer to whoever waits for its start; only the first one counts.
    func settle(_ result: Result<CommandSession, any Error>) {
        guard case .starting(let waiting?) = state else { return }
        state = .starting(nil)
        waiting.resume(with: result)
    }

    func info(in sandbox: String) -> CommandInfo {
        CommandInfo(
            id: id, sandbox: sandbox, command: spec.arguments, pid: pid, state: state.info,
            hasTerminal: spec.terminal != nil)
    }
}
