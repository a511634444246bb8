import Testing

@testable import CorralAPI

@Suite struct DetachKeysTests {
    /// What gets through of pieces typed one after the other.
    private func typed(_ pieces: [UInt8]...) -> (bytes: [UInt8], left: Bool) {
        var keys = DetachKeys()
        let bytes = pieces.flatMap { keys.pass($0[...]) }
        return (bytes, keys.isComplete)
    }

    @Test func theSequenceLeavesAndIsNotPassedOn() {
        #expect(typed([97, 0x10, 0x11, 98]) == ([97], true))
        #expect(typed([97, 0x10], [0x11]) == ([97], true))
        #expect(typed([0x10, 0x10, 0x11]) == ([0x10], true))
    }

    @Test func anythingElseIsPassedOn() {
        #expect(typed([97, 0x11, 98]) == ([97, 0x11, 98], false))
        #expect(typed([0x10, 98]) == ([0x10, 98], false))
        #expect(typed([0x10], [0x10], [98]) == ([0x10, 0x10, 98], false))
    }
}

@Suite struct CommandUserTests {
    @Test func numbersAreTaken() {
        #expect(CommandUser("0") == CommandUser(uid: 0))
        #expect(CommandUser("1000:100") == CommandUser(uid: 1000, gid: 100))
        #expect(CommandUser("65534") == CommandUser(uid: 65_534))
    }

    @Test(arguments: ["", ":", "a", "1:", ":1", "1:2:3", "-1", "+1", "65535", "1:65535", "99999999999"])
    func anythingElseIsNot(text: String) {
        #expect(CommandUser(text) == nil)
    }
}
