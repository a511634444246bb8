internal import CLinux
internal import Glibc

/// The descriptors that this process may still open.
public enum Descriptors {
    /// Whether so many are left, which it finds out by opening them: a microsecond for two.
    public static func areLeft(_ count: Int) -> Bool {
        var opened: [Int32] = []
        opened.reserveCapacity(count)
        defer { for descriptor in opened { close(descriptor) } }
        for _ in 0..<count {
            let descriptor = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3)
            // Without a standard error there is nothing to ask by.
            if descriptor < 0 { return errno != EMFILE }
            opened.append(descriptor)
        }
        return true
    }
}
