internal import FuzzDriver
internal import Glibc

/// libFuzzer over the readers of outside bytes. CORRAL_FUZZ_TARGET names the target; the arguments are libFuzzer's own.
@main enum Fuzz {
    typealias Target = @Sendable ([UInt8]) -> Void

    static let targets: [String: Target] = [
        "archive": ArchiveTargets.archive,
        "attach": ServerTargets.attach,
        "body": ServerTargets.body,
        "cases": PolicyTargets.cases,
        "control": StateTargets.control,
        "decision": EventTargets.decision,
        "dns": ResolverTargets.dns,
        "event": EventTargets.event,
        "frames": ClientTargets.frames,
        "head": ServerTargets.head,
        "journal": JournalTargets.journal,
        "notation": PolicyTargets.notation,
        "policy": PolicyTargets.policy,
        "query": ResolverTargets.query,
        "recovery": JournalTargets.recovery,
        "request": ServerTargets.request,
        "response": ClientTargets.response,
        "state": StateTargets.state,
        "trace": EventTargets.trace,
    ]

    // By environment, since libFuzzer starts this program again with its own arguments when it merges corpora.
    static let chosen: Target = {
        let name = getenv("CORRAL_FUZZ_TARGET").map { String(cString: $0) } ?? ""
        guard let target = targets[name] else {
            print("CORRAL_FUZZ_TARGET: one of \(targets.keys.sorted().joined(separator: ", "))")
            exit(2)
        }
        return target
    }()

    static func main() {
        _ = chosen
        var count = CommandLine.argc
        var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
        let status = LLVMFuzzerRunDriver(&count, &arguments) { data, size in
            corral_fuzz_note(data, size)
            Fuzz.chosen(Array(UnsafeBufferPointer(start: data, count: size)))
            return 0
        }
        exit(status)
    }

    /// Ends the run with the input that broke a promise.
    static func require(_ holds: Bool, _ promise: @autoclosure () -> String) {
        if !holds { fatalError("broken: \(promise())") }
    }

    /// `bytes` in the pieces that its first byte asks for: of 1 to 255 bytes, or (0) whole.
    static func pieces(_ bytes: [UInt8]) -> (whole: [UInt8], pieces: [[UInt8]]) {
        guard let size = bytes.first else { return ([], []) }
        let whole = Array(bytes.dropFirst())
        guard size > 0 else { return (whole, [whole]) }
        return (
            whole,
            stride(from: 0, to: whole.count, by: Int(size)).map {
                Array(whole[$0..<min($0 + Int(size), whole.count)])
            }
        )
    }
}
