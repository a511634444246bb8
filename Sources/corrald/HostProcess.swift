internal import CorralServer
internal import Glibc

/// What corrald asks of the process it is.
enum HostProcess {
    /// Descriptors between the soft limit and the hard one, for what libdispatch cannot do without (open_shim.c).
    private static let reserve: rlim_t = 16

    /// Files it makes are its own; a client that goes away is an error of a write, not a signal; as many descriptors as
    /// the host allows, but for a few. Returns the number of descriptors.
    static func prepare() -> Int {
        umask(0o077)
        signal(SIGPIPE, SIG_IGN)
        var limit = rlimit()
        let files = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        guard getrlimit(files, &limit) == 0 else { return 1024 }
        let soft = limit.rlim_cur
        limit.rlim_cur = limit.rlim_max > 4 * reserve ? limit.rlim_max - reserve : limit.rlim_max
        if setrlimit(files, &limit) != 0 { return Int(clamping: soft) }
        return Int(clamping: limit.rlim_cur)
    }

    /// Tells the service manager, where there is one (sd_notify(3)). Failure is nobody's loss.
    static func notify(_ state: String) {
        guard let name = getenv("NOTIFY_SOCKET"), let address = UnixAddress(String(cString: name)) else { return }
        try? address.send(state)
    }

    /// How long the service manager waits for a sign of life; nil: it does not (sd_watchdog_enabled(3)).
    static var watchdogInterval: Duration? {
        guard let text = getenv("WATCHDOG_USEC"), let microseconds = Int64(String(cString: text)), microseconds > 0,
            getenv("WATCHDOG_PID").map({ Int32(String(cString: $0)) == getpid() }) ?? true
        else { return nil }
        return .microseconds(microseconds)
    }

    static func printError(_ message: String) {
        let line = Array("corrald: \(message)\n".utf8)
        _ = write(STDERR_FILENO, line, line.count)
    }
}
