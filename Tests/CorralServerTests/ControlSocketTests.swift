import Glibc
import Testing

@testable import CorralServer

@Suite struct ControlSocketTests {
    @Test func onlyRootAndTheGroupGetIn() async throws {
        try await TestServer.run { server in
            let socket = try #require(try FileStatus(path: server.socketPath))
            #expect(socket.isSocket)
            #expect(socket.mode == 0o660)
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
        let first = try ControlSocket(path: directory.path + "/run/corral.sock")
        #expect(throws: ControlSocketError.self) { try ControlSocket(path: first.path) }
        withExtendedLifetime(first) {}
    }

    @Test func theLockGoesWithTheDaemon() throws {
        let directory = try TemporaryDirectory()
        do { _ = try ControlSocket(path: directory.path + "/run/corral.sock") }
        _ = try ControlSocket(path: directory.path + "/run/corral.sock")
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
        let error = #expect(throws: ControlSocketError.self) { try ControlSocket(path: path) }
        #expect(error?.description.contains("another daemon answers") == true)
        #expect(try FileStatus(path: path)?.isSocket == true)
    }

    @Test func aSocketThatNobodyAnswersIsRemoved() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/corral.sock"
        close(try listen(at: path))
        #expect(try FileStatus(path: path)?.isSocket == true)
        _ = try ControlSocket(path: path)
        #expect(try FileStatus(path: path) == nil)
    }

    @Test func aFileInTheWayStays() throws {
        let directory = try TemporaryDirectory()
        let path = directory.path + "/corral.sock"
        close(open(path, O_CREAT | O_WRONLY, 0o600))
        #expect(throws: ControlSocketError.self) { try ControlSocket(path: path) }
        #expect(try FileStatus(path: path) != nil)
    }

    @Test func aDirectoryThatOthersMayWriteIsRefused() throws {
        let directory = try TemporaryDirectory()
        chmod(directory.path, 0o770)
        #expect(throws: ControlSocketError.self) { try ControlSocket(path: directory.path + "/corral.sock") }
        chmod(directory.path, 0o750)
        _ = try ControlSocket(path: directory.path + "/corral.sock")
    }

    @Test(arguments: ["corral.sock", "/corral.sock", "", "/run/" + String(repeating: "x", count: 110)])
    func impossiblePathsAreRefused(path: String) {
        #expect(throws: ControlSocketError.self) { try ControlSocket(path: path) }
    }

    @Test func addressesTakeWhatFitsAndNothingMore() {
        #expect(UnixAddress(String(repeating: "a", count: 107)) != nil)
        #expect(UnixAddress(String(repeating: "a", count: 108)) == nil)
        #expect(UnixAddress("@abstract") != nil)
        #expect(UnixAddress("") == nil)
        #expect(UnixAddress("a\0b") == nil)
    }
}
