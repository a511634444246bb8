import Glibc
import Testing

@testable import CorralEngine

/// A host and a place for images below a directory that goes away with it.
private final class Scratch {
    let path: String
    var host: String { "\(path)/host" }
    var images: String { "\(path)/state/images/host" }

    init() throws {
        path = "/tmp/corral-host-image-\(getpid())-\(UInt32.random(in: 0...UInt32.max))"
        for name in ["usr", "etc/ssl/certs", "etc/alternatives", "etc/ld.so.conf.d", "lib32"] {
            try Files.makeDirectories("\(host)/\(name)")
        }
        try Files.makeLink("\(host)/bin", to: "usr/bin")
        try Files.makeLink("\(host)/etc/alternatives/editor", to: "/usr/bin/ed")
        try Files.makeLink("\(host)/etc/ssl/certs/a.pem", to: "/usr/share/ca-certificates/a.crt")
        try write("etc/ssl/certs/ca-certificates.crt", "certificates")
        try write("etc/services", "http 80/tcp\n")
        try write("etc/shadow", "secret", mode: 0o600)
        try write("etc/timezone", "secret", mode: 0o640)
    }

    func write(_ name: String, _ content: String, mode: UInt32 = 0o644) throws {
        try Files.write("\(host)/\(name)", Array(content.utf8), mode: mode)
    }

    deinit {
        try? Files.removeTree(path)
    }
}

private func mode(_ path: String) -> UInt32 {
    var status = stat()
    return lstat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
}

private func text(_ path: String) throws -> String {
    String(decoding: try Files.content(path), as: UTF8.self)
}

@Suite struct HostImageTests {
    @Test func showsTheHostsUsrAndItsLinks() throws {
        let scratch = try Scratch()
        let layout = try HostImage.prepare(at: scratch.images, host: scratch.host)
        #expect(
            layout.mounts == [
                .init(source: "\(scratch.host)/usr", target: "/usr", readOnly: true),
                .init(source: "\(scratch.host)/lib32", target: "/lib32", readOnly: true),
            ])
        #expect(try Files.linkTarget("\(layout.rootfs)/bin") == "usr/bin")
        #expect(try Files.names(in: "\(layout.rootfs)/usr") == [])
        #expect(try Files.status("\(layout.rootfs)/lib32")?.kind == .directory)
        #expect(try Files.status("\(layout.rootfs)/sbin") == nil)
    }

    @Test func copiesWhatEveryoneMayReadAndNothingElse() throws {
        let scratch = try Scratch()
        let root = try HostImage.prepare(at: scratch.images, host: scratch.host).rootfs
        #expect(try text("\(root)/etc/services") == "http 80/tcp\n")
        #expect(try text("\(root)/etc/ssl/certs/ca-certificates.crt") == "certificates")
        #expect(try Files.linkTarget("\(root)/etc/alternatives/editor") == "/usr/bin/ed")
        #expect(try Files.linkTarget("\(root)/etc/ssl/certs/a.pem") == "/usr/share/ca-certificates/a.crt")
        #expect(try Files.status("\(root)/etc/shadow") == nil)
        #expect(try Files.status("\(root)/etc/timezone") == nil)
    }

    @Test func synthesisesAccountsAndResolver() throws {
        let scratch = try Scratch()
        let root = try HostImage.prepare(at: scratch.images, nameserver: "192.0.2.53", host: scratch.host).rootfs
        #expect(try text("\(root)/etc/resolv.conf") == "nameserver 192.0.2.53\n")
        #expect(try text("\(root)/etc/passwd").hasPrefix("root:*:0:0:"))
        #expect(mode("\(root)/tmp") == 0o1777)
        #expect(mode("\(root)/var/tmp") == 0o1777)
        #expect(mode("\(root)/root") == 0o700)
        #expect(mode("\(root)/etc/passwd") == 0o644)
        #expect(mode(root) == 0o755)
    }

    @Test func usesTheSameRootWhileTheHostIsTheSameAndAnotherAfterAChange() throws {
        let scratch = try Scratch()
        let first = try HostImage.prepare(at: scratch.images, host: scratch.host)
        #expect(try HostImage.prepare(at: scratch.images, host: scratch.host) == first)
        #expect(try Files.names(in: scratch.images).count == 1)

        try scratch.write("etc/protocols", "tcp 6\n")
        let second = try HostImage.prepare(at: scratch.images, host: scratch.host)
        #expect(second.rootfs != first.rootfs)
        #expect(try Files.status(first.rootfs) != nil)

        try HostImage.removeOthers(at: scratch.images, keeping: second)
        #expect(try Files.status(first.rootfs) == nil)
        #expect(try Files.status(second.rootfs) != nil)
    }

    @Test func tellsWhichCallFailedOnWhat() throws {
        let scratch = try Scratch()
        try Files.makeDirectories(scratch.path)
        try Files.write("\(scratch.path)/file", [], mode: 0o644)
        let error = #expect(throws: FileError.self) {
            try HostImage.prepare(at: "\(scratch.path)/file/images", host: scratch.host)
        }
        #expect(error?.call == "mkdir")
        #expect(error?.errno == ENOTDIR)
    }

    @Test func preparesFromTheRealHost() throws {
        let scratch = try Scratch()
        let layout = try HostImage.prepare(at: scratch.images)
        #expect(layout.mounts.first == .init(source: "/usr", target: "/usr", readOnly: true))
        #expect(try Files.status("\(layout.rootfs)/etc/passwd")?.kind == .file)
    }
}
