import Testing

@testable import CorralEngine

@Suite struct ImageUserTests {
    static let passwd =
        "root:x:0:0:root:/root:/bin/sh\nnode:x:1000:1001::/home/node:/bin/sh\nbroken\nhuge:x:70000:1::/h:\n"
    static let group = "root:x:0:\nstaff:x:50:\nnode:x:1001:\n"

    @Test(
        arguments: [
            ("node", 1000, 1001, "/home/node"), ("1000", 1000, 1001, "/home/node"),
            ("node:staff", 1000, 50, "/home/node"),
            ("node:7", 1000, 7, "/home/node"), ("4000", 4000, 0, "/"), ("4000:4001", 4000, 4001, "/"),
            ("root", 0, 0, "/root"), ("node:", 1000, 1001, "/home/node"),
        ] as [(String, UInt32, UInt32, String)])
    func readsWhatDockerReads(text: String, uid: UInt32, gid: UInt32, home: String) throws {
        let user = try #require(ImageUser(text, passwd: Self.passwd, group: Self.group))
        #expect(user.uid == uid && user.gid == gid && user.home == home)
    }

    @Test(arguments: ["", ":", ":1", "nobody", "node:wheel", "1:2:3", "-1", "65535", "huge", "1000:65535", "broken"])
    func refusesTheRest(text: String) {
        #expect(ImageUser(text, passwd: Self.passwd, group: Self.group) == nil)
    }
}
