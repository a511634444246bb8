internal import CorralAPI
internal import Glibc

/// When the program's main function began, and what it had cost until then.
enum ProgramStart {
    // Safety: written once, by the main thread, before anything else.
    nonisolated(unsafe) private(set) static var at: UInt64 = 0
    /// CPU time from execve(2) on, nanoseconds: loading and the runtime's own start.
    nonisolated(unsafe) private(set) static var cost: UInt64 = 0

    static func note() {
        var time = timespec()
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
        cost = UInt64(clamping: time.tv_sec) * 1_000_000_000 + UInt64(clamping: time.tv_nsec)
        at = AttachProgress.now()
    }
}

/// `corral run --timing`: the steps of one run, one after the other, in microseconds.
struct TimingReport {
    private var steps: [(name: String, microseconds: Double)] = []
    private var last = ProgramStart.at
    private var kind = ""

    init() {
        steps.append(("load (CPU time)", Self.microseconds(ProgramStart.cost)))
        end("parse arguments")
    }

    private static func microseconds(_ nanoseconds: UInt64) -> Double { Double(nanoseconds) / 1000 }

    /// The step has just ended.
    mutating func end(_ name: String, at now: UInt64 = AttachProgress.now()) {
        steps.append((name, Self.microseconds(now &- last)))
        last = now
    }

    /// The sandbox has been answered for: the daemon's own steps lie between two of ours, on the same clock.
    mutating func started(_ times: StartTimes) {
        let now = AttachProgress.now()
        let sentAt = Self.microseconds(last)
        kind = times.warm ? "warm" : "cold"
        steps.append(("send", max(0, times.receivedAt - sentAt)))
        for stage in times.stages { steps.append(("corrald: " + stage.name, stage.microseconds)) }
        let counted = times.stages.reduce(0) { $0 + $1.microseconds }
        steps.append(("corrald: other", max(0, times.answeredAt - times.receivedAt - counted)))
        steps.append(("receive", max(0, Self.microseconds(now) - times.answeredAt)))
        last = now
    }

    mutating func ended(_ progress: AttachProgress) {
        if let at = progress.attachedAt { end("attach", at: at) }
        if let at = progress.firstOutputAt { end("first byte", at: at) }
        if let at = progress.exitedAt { end("exit", at: at) }
    }

    func print() {
        Complaint.print("timing in microseconds, \(kind) start")
        let width = steps.map(\.name.count).max() ?? 0
        for step in steps + [("total since main", Self.microseconds(last &- ProgramStart.at))] {
            let name = step.name + String(repeating: " ", count: max(0, width - step.name.count))
            let tenths = Int(min(max(step.microseconds, 0), 1e12) * 10)
            let number = "\(tenths / 10).\(tenths % 10)"
            Complaint.print("  \(name)  \(String(repeating: " ", count: max(0, 10 - number.count)))\(number)")
        }
    }
}
