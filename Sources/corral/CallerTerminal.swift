internal import CorralAPI
internal import Glibc

/// The terminal that this program was called from. It passes every key on while a command has a terminal of its own, and is
/// as it was before when the program ends, however that comes about.
enum CallerTerminal {
    /// Nil where there is none.
    static func size() -> TerminalSize? {
        [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO].lazy.compactMap(AttachStreams.size).first
    }

    /// Raw mode, if stdin is a terminal; false if not. Ends with `restore`, at exit at the latest.
    static func makeRaw() throws -> Bool {
        guard isatty(STDIN_FILENO) == 1 else { return false }
        var settings = termios()
        guard tcgetattr(STDIN_FILENO, &settings) == 0 else { throw Failure(file: "the terminal", errno: errno) }
        savedSettings = settings
        isRaw = true
        atexit(restoreTerminal)
        // A crash, too, leaves the terminal as it was.
        for number in [SIGILL, SIGTRAP, SIGABRT, SIGBUS, SIGSEGV, SIGFPE] {
            var action = sigaction()
            action.__sigaction_handler.sa_handler = restoreAndDie
            action.sa_flags = Int32(bitPattern: UInt32(SA_RESETHAND))
            _ = sigaction(number, &action, nil)
        }
        cfmakeraw(&settings)
        guard tcsetattr(STDIN_FILENO, TCSADRAIN, &settings) == 0 else {
            throw Failure(file: "the terminal", errno: errno)
        }
        return true
    }

    static func restore() { restoreTerminal() }
}

// Safety: written once, before the handlers that read them are installed, and by one thread.
nonisolated(unsafe) private var savedSettings = termios()
nonisolated(unsafe) private var isRaw = false

/// Async-signal-safe: tcsetattr(3) alone.
private func restoreTerminal() {
    guard isRaw else { return }
    isRaw = false
    // The background may not change a terminal without SIGTTOU; then its owner has taken care of it.
    var settings = savedSettings
    _ = tcsetattr(STDIN_FILENO, TCSADRAIN, &settings)
}

private func restoreAndDie(_ number: Int32) {
    restoreTerminal()
    raise(number)
}
