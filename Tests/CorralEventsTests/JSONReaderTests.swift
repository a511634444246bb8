@testable import CorralEvents
import Testing

@Suite struct JSONReaderTests {
    private func value(_ text: String) throws(JSONError) -> JSONValue {
        try JSONReader.value(of: Array(text.utf8))
    }

    @Test(arguments: [
        ("null", JSONValue.null), (" true\n", .bool(true)), ("false", .bool(false)), ("0", .unsigned(0)),
        ("-0", .unsigned(0)),
        ("18446744073709551615", .unsigned(.max)), ("-9223372036854775808", .negative(.min)),
        ("18446744073709551616", .other),
        ("1e3", .other), ("1.5", .other), (#""""#, .string("")),
        (#""\u00e9\ud83d\ude00\/\b\f""#, .string("é😀/\u{8}\u{c}")),
        ("[]", .array([])), ("[1, [2]]", .array([.unsigned(1), .array([.unsigned(2)])])), ("{}", .object([])),
        (#"{"a" : 1 , "b":{}}"#, .object([("a", .unsigned(1)), ("b", .object([]))])),
    ])
    func validTextIsRead(text: String, expected: JSONValue) throws {
        #expect(try value(text) == expected)
    }

    @Test(arguments: [
        "", "nul", "tru e", "01", "-", "1.", "1e", "+1", ".5", "\"", #""\x""#, #""\u12g4""#, #""\ud83d""#,
        #""\ud83dx""#,
        #""\ud83d\u0041""#, #""\ude00""#, "\"a\u{1}\"", "\"a\nb\"", "[", "[1", "[1,]", "[1 2]", "{", #"{"a"}"#,
        #"{"a":}"#, #"{"a":1,}"#, "{1:1}",
        "1 1", "nullx", String(repeating: "[", count: 100), #""\u００４１""#,
    ])
    func invalidTextIsRefused(text: String) {
        #expect(throws: JSONError.self) { try value(text) }
    }

    @Test func invalidUTF8IsRefused() {
        for bytes: [UInt8] in [[0xff], [0xc0, 0xaf], [0xed, 0xa0, 0x80], [0xf4, 0x90, 0x80, 0x80], [0xe2, 0x82]] {
            #expect(throws: JSONError.self) { try JSONReader.value(of: [0x22] + bytes + [0x22]) }
            #expect(throws: JSONError.self) { try JSONReader.value(of: [0x22, 0x5c, 0x6e] + bytes + [0x22]) }
        }
    }

    @Test func nestingIsBounded() throws {
        let deep = JSONReader.deepest
        _ = try value(String(repeating: "[", count: deep) + String(repeating: "]", count: deep))
        #expect(throws: JSONError.self) {
            try value(String(repeating: "[", count: deep + 1) + String(repeating: "]", count: deep + 1))
        }
    }
}
