internal import Glibc
internal import Synchronization

#if CORRAL_CRASH_POINTS
    /// A step at which `make crash-test` kills the daemon. Names are listed by the calls themselves. `CORRAL_CRASH_PLAN` names a file:
    /// `NAME N` in it ends the process on the N-th passing of NAME since the file had this content. Every passing is added to the
    /// file `CORRAL_CRASH_PLAN.passed`, a name a line.
    public func crashPoint(_ name: StaticString) { CrashPlan.fromEnvironment?.pass("\(name)") }

    private final class CrashPlan: Sendable {
        static let fromEnvironment = getenv("CORRAL_CRASH_PLAN").map { CrashPlan(path: String(cString: $0)) }

        private let path: String
        private let progress = Mutex((plan: "", passed: 0))

        init(path: String) { self.path = path }

        func pass(_ name: String) {
            note(name)
            let plan = content()
            let words = plan.split(whereSeparator: \.isWhitespace)
            guard words.count == 2, words[0] == name, let wanted = Int(words[1]) else { return }
            let isDue = progress.withLock { progress in
                if progress.plan != plan { progress = (plan, 0) }
                progress.passed += 1
                return progress.passed == wanted
            }
            if isDue { kill(getpid(), SIGKILL) }
        }

        private func note(_ name: String) {
            let file = open(path + ".passed", O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o600)
            guard file >= 0 else { return }
            defer { close(file) }
            let line = Array("\(name)\n".utf8)
            _ = line.withUnsafeBytes { write(file, $0.baseAddress, $0.count) }
        }

        private func content() -> String {
            let file = open(path, O_RDONLY | O_CLOEXEC)
            guard file >= 0 else { return "" }
            defer { close(file) }
            var bytes = [UInt8](repeating: 0, count: 128)
            let count = read(file, &bytes, bytes.count)
            return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
        }
    }
#else
    /// Nothing, but in the build of `make crash-test` (CORRAL_CRASH_POINTS).
    @inlinable public func crashPoint(_ name: StaticString) {}
#endif
