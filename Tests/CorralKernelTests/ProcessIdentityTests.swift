import CorralKernel
import Glibc
import Testing

/// Processes that the next daemon looks for.
struct ProcessIdentityTests {
    private static func spawn(_ arguments: String...) throws -> pid_t {
        var pid: pid_t = 0
        var words = arguments.map { strdup($0) } + [nil]
        defer { words.forEach { free($0) } }
        let status = posix_spawn(&pid, arguments[0], nil, nil, &words, environ)
        try #require(status == 0)
        return pid
    }

    @Test func oneThatRunsIsAlive() throws {
        let pid = try Self.spawn("/bin/sleep", "60")
        let identity = try ProcessIdentity(pid: pid)
        #expect(identity.isAlive && !identity.ends(withinMilliseconds: 20))
        kill(pid, SIGKILL)
        #expect(identity.ends(withinMilliseconds: 10_000))
        waitpid(pid, nil, 0)
    }

    /// Its parent may be a daemon that was killed with it, and the process that inherits it slow.
    @Test func oneThatHasEndedIsNotThoughNobodyHasWaitedForIt() throws {
        let pid = try Self.spawn("/bin/sleep", "0")
        let identity = try ProcessIdentity(pid: pid)
        #expect(identity.ends(withinMilliseconds: 10_000))
        #expect(try ProcessIdentity(pid: pid) == identity)
        waitpid(pid, nil, 0)
        #expect(!identity.isAlive)
        #expect(throws: KernelError.self) { try ProcessIdentity(pid: pid) }
    }

    @Test func anotherOfTheSameNumberIsNot() throws {
        var identity = try ProcessIdentity(pid: getpid())
        #expect(identity.isAlive)
        identity.startTime += 1
        #expect(!identity.isAlive)
    }
}
