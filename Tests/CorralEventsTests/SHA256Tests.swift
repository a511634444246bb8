import Testing

@testable import CorralEvents

@Suite struct SHA256Tests {
    /// FIPS 180-4's examples and NIST's short-message vectors.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu",
            "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1"
        ),
    ])
    func publishedVectors(message: String, hash: String) {
        #expect(SHA256(of: message.utf8).description == hash)
        #expect(SHA256(of: Array(message.utf8)[...]).description == hash)
    }

    @Test func aMillionLetters() {
        let hash = SHA256(of: [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000))
        #expect(hash.description == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    }

    /// Every length around the two block limits, summed up: the hash of all their hashes, as sha256sum gives it.
    @Test func everyLengthOfPadding() {
        var all: [UInt8] = []
        for length in 0..<200 { SHA256(of: [UInt8](repeating: UInt8(length), count: length)).append(to: &all) }
        #expect(SHA256(of: all).description == "c86ce814ed1233ab1d4b273da1b6b13765cd39e72e81ce941452479e70ff1b10")
    }

    @Test func textIsReadAsItIsWritten() {
        let hash = SHA256(of: "abc".utf8)
        #expect(SHA256(hash.description) == hash)
        let text = hash.description
        for bad in ["", "ba78", text.uppercased(), text + "0", String(text.dropLast()) + "g"] {
            #expect(SHA256(bad) == nil, "\(bad)")
        }
    }
}
