internal import CorralPolicy

extension Syscall {
    func write(to json: inout JSONWriter) {
        if isRefused {
            json.key("verdict")
            json.string(Verdict.deny.rawValue)
            json.key("reason")
            json.string(Reason.syscallNotAllowed.rawValue)
        }
        json.key("process")
        process.write(to: &json)
        json.key("tid")
        json.number(thread)
        json.key("name")
        json.string(name)
        json.key("abi")
        json.string(abi.rawValue)
        if case .resumed = outcome {
            json.key("resumed")
            json.bool(true)
        } else {
            json.key("args")
            json.strings(arguments)
        }
        if let result {
            json.key("result")
            json.number(result)
        }
        if let error {
            json.key("error")
            json.string(error)
        }
        if let duration {
            json.key("duration_ns")
            json.number(duration)
        }
        if let hint {
            json.key("hint")
            json.string(hint)
        }
    }

    init(_ fields: Fields) throws(EventParseError) {
        let verdict: Verdict? = try fields.optionalWord("verdict")
        let result: Int64? = try fields.optionalNumber("result")
        let isResumed = try fields.bool("resumed")
        let outcome: Outcome
        if let result {
            outcome = verdict == .deny ? .refused(result) : isResumed ? .resumed(result) : .returned(result)
        } else {
            outcome = .none
        }
        self.init(
            thread: try fields.number("tid"), process: try ProcessReference(try fields.object("process")),
            name: try fields.string("name"), abi: try fields.word("abi"),
            arguments: isResumed ? [] : try fields.strings("args"), outcome: outcome,
            duration: try fields.optionalNumber("duration_ns"))
    }
}

extension ProcessChange {
    func write(to json: inout JSONWriter) {
        json.key("action")
        json.string(action.name)
        json.key("process")
        process.write(to: &json)
        switch action {
        case .exec(let arguments, let isCut, let directory):
            json.key("args")
            json.strings(arguments)
            if isCut {
                json.key("args_cut")
                json.bool(true)
            }
            json.key("cwd")
            json.string(directory)
        case .fork(let child):
            json.key("child")
            json.beginObject()
            json.key("pid")
            json.number(child.pid)
            json.key("host_pid")
            json.number(child.hostPid)
            json.key("exec_id")
            json.string(child.execID)
            json.endObject()
        case .exit(let ending, let usage):
            switch ending {
            case .code(let code):
                json.key("exit_code")
                json.number(code)
            case .signal(let signal, let dumpedCore):
                json.key("signal")
                json.string(SignalNumber.name(signal))
                if dumpedCore {
                    json.key("core_dumped")
                    json.bool(true)
                }
            }
            json.key("rusage")
            json.beginObject()
            json.key("user_ns")
            json.number(usage.user)
            json.key("system_ns")
            json.number(usage.system)
            json.key("max_rss")
            json.number(usage.peakMemory)
            json.endObject()
        }
    }

    init(_ fields: Fields) throws(EventParseError) {
        let action: Action
        switch try fields.string("action") {
        case "exec":
            action = .exec(
                arguments: try fields.strings("args"), isCut: try fields.bool("args_cut"),
                directory: try fields.string("cwd"))
        case "fork":
            let child = try fields.object("child")
            action = .fork(
                Child(
                    pid: try child.number("pid"), hostPid: try child.number("host_pid"),
                    execID: try child.string("exec_id")))
        case "exit":
            let ending: Ending
            if let name = try fields.optionalString("signal") {
                guard let signal = SignalNumber.number(name) else {
                    throw .field("signal", expected: "the name of a signal, such as SIGKILL")
                }
                ending = .signal(signal, dumpedCore: try fields.bool("core_dumped"))
            } else {
                ending = .code(try fields.number("exit_code"))
            }
            let usage = try fields.object("rusage")
            action = .exit(
                ending,
                Usage(
                    user: try usage.number("user_ns"), system: try usage.number("system_ns"),
                    peakMemory: try usage.number("max_rss")))
        default: throw .field("action", expected: "exec, fork or exit")
        }
        self.init(process: try ProcessReference(try fields.object("process")), action: action)
    }
}

extension ProcessChange {
    /// `exec /bin/cat: cat /etc/hosts`, `fork 12`, `exit 0`, without a line break. Text that the sandbox chose is
    /// neutralised.
    public var line: String {
        switch action {
        case .exec(let arguments, let isCut, _):
            let program = TerminalText.neutralised(process.exe ?? "?")
            return (["exec \(program):"] + arguments.map(TerminalText.quoted) + (isCut ? ["…"] : []))
                .joined(separator: " ")
        case .fork(let child): return "fork \(child.pid)"
        case .exit(.code(let code), _): return "exit \(code)"
        case .exit(.signal(let signal, let dumpedCore), _):
            return "exit by \(SignalNumber.name(signal))" + (dumpedCore ? " (core dumped)" : "")
        }
    }
}
