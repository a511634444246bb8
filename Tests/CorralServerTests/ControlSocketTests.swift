import Glibc
import Testing

@testable import CorralServer

@Suite struct ControlSocketTests {
    @Test func onlyRootAndTheGroupGetIn() async throws {
        try await TestServer.run { server in
            let socket = try #require(try FileStatus(path: server.socketPath))
            #expect(socket.isSocket)
            #expect(socket.mode == (getgrnam("corral") == nil ? 0o600 : 0o660))
            #expect(socket.owner == geteuid())
            #expect(socket.group == getgrnam("corral")?.pointee.gr_gid ?? getegid())
            let directory = try #require(try FileStatus(path: String(server.socketPath.dropLast("/corral.sock".count))))
            #expect(directory.isDirectory)
            #expect(directory.mode == 0o750)
        }
    }

    @Test func theSocketGoesWithTheServer() async throws {
        let directory = try TemporaryDirectory()
        let path = try await TestServer.run { server in server.socketPath }
        #expect(try FileStatus(path: path) == nil)
        #expect(try FileStatus(path: directory.path) != nil)
    }

    @Test func aSecondDaemonIsRefused() throws {
        let directory = try TemporaryDirectory()
        let first = try ControlSocket(path: directory.path + "/run/corral.sock", access: SocketAccess())
        #expect(throws: ControlSocketError.self) { try ControlSocket(path: first.path, access: SocketAccess()) }
        withExtendedLifetime(first) {}
    }

    @Test func theLockGoesWithTheDaemon() throws {
        let directory = try TemporaryDirectory()
        do { _ = try ControlSocket(path: directory.path + "/run/corral.sock", access: SocketAccess()) }
        _ = try ControlSocket(path: directory.path + "/run/corral.sock", access: SocketAccess())
    }

    /// A unix socket at `path`, listening while the descriptor is open.
    private func listen(at path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        let address = try #require(UnixAddress(path))
        try #require(address.withSockaddr { bind(descriptor, $0, $1) } == 0)
        try #require(Glibc.listen(descriptor, 1) == 0)
        return descriptor
    }

    @Test func aSocketThatSomebodyAnswersStays() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/corral.sock"
        let descriptor = try listen(at: path)
        defer { close(descriptor) }
        let error = #expect(throws: ControlSocketError.self) { try ControlSocket(path: path, access: SocketAccess()) }
        #expect(error?.description.contains("another daemon answers") == true)
        #expect(try FileStatus(path: path)?.isSocket == true)
    }

    @Test func aSocketThatNobodyAnswersIsRemoved() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/corral.sock"
        close(try listen(at: path))
        #expect(try FileStatus(path: path)?.isSocket == true)
        _ = try ControlSocket(path: path, access: SocketAccess())
        #expect(try FileStatus(path: path) == nil)
    }

    @Test func aFileInTheWayStays() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/corral.sock"
        close(open(path, O_CREAT | O_WRONLY, 0o600))
        #expect(throws: ControlSocketError.self) { try ControlSocket(path: path, access: SocketAccess()) }
        #expect(try FileStatus(path: path) != nil)
    }

    @Test func aDirectoryThatOthersMayWriteIsRefused() throws {
        let directory = try TemporaryDirectory()
        chmod(directory.path, 0o770)
        #expect(throws: ControlSocketError.self) {
            try ControlSocket(path: directory.path + "/corral.sock", access: SocketAccess())
        }
        chmod(directory.path, 0o750)
        _ = try ControlSocket(path: directory.path + "/corral.sock", access: SocketAccess())
    }

    @Test func aDirectoryBelowOneThatOthersMayWriteIsRefused() throws {
        let directory = try TemporaryDirectory()
        mkdir(directory.path + "/run", 0o750)
        chmod(directory.path, 0o777)
        let error = #expect(throws: ControlSocketError.self) {
            try ControlSocket(path: directory.path + "/run/corral.sock", access: SocketAccess())
        }
        #expect(error?.description.contains("could put another directory in the place") == true)
        // As /tmp is: there, nobody may rename what is another's.
        chmod(directory.path, 0o1777)
        _ = try ControlSocket(path: directory.path + "/run/corral.sock", access: SocketAccess())
    }

    @Test func ownerGroupAndModeAreThoseThatWereAskedFor() async throws {
        let directory = try TemporaryDirectory()
        let access = try SocketAccess(owner: "nobody", group: "nogroup", mode: 0o660)
        let socket = try ControlSocket(path: directory.path + "/run/corral.sock", access: access)
        let descriptor = try listen(at: socket.path)
        defer { close(descriptor) }
        try socket.admit()
        let status = try #require(try FileStatus(path: socket.path))
        #expect(status.owner == getpwnam("nobody").pointee.pw_uid)
        #expect(status.group == getgrnam("nogroup").pointee.gr_gid)
        #expect(status.mode == 0o660)
        // Else its members could not come near.
        let parent = try FileStatus(path: directory.path + "/run")
        #expect(parent?.group == status.group)
        #expect(parent?.mode == 0o751)
    }

    @Test func unknownNamesAndModesForEverybodyAreRefused() throws {
        #expect(throws: ControlSocketError.self) { try SocketAccess(owner: "no-such-user") }
        #expect(throws: ControlSocketError.self) { try SocketAccess(group: "no-such-group") }
        #expect(throws: ControlSocketError.self) { try SocketAccess(mode: 0o666) }
        #expect(try SocketAccess(mode: 0o600).mode == 0o600)
        #expect(try SocketAccess().owner == geteuid())
        let directory = try TemporaryDirectory()
        #expect(throws: ControlSocketError.self) {
            try ControlSocket(
                path: directory.path + "/run/corral.sock", access: SocketAccess(), readers: "no-such-group")
        }
    }

    @Test(arguments: ["corral.sock", "/corral.sock", "", "/run/" + String(repeating: "x", count: 110)])
    func impossiblePathsAreRefused(path: String) {
        #expect(throws: ControlSocketError.self) { try ControlSocket(path: path, access: SocketAccess()) }
    }

    @Test func addressesTakeWhatFitsAndNothingMore() {
        #expect(UnixAddress(String(repeating: "a", count: 107)) != nil)
        #expect(UnixAddress(String(repeating: "a", count: 108)) == nil)
        #expect(UnixAddress("@abstract") != nil)
        #expect(UnixAddress("") == nil)
        #expect(UnixAddress("a\0b") == nil)
    }
}
