import CorralPolicy
import Glibc
import Testing

@testable import CorralEngine

@Suite struct PinLogTests {
    private static func withLog(_ body: (inout PinLog, String) throws -> Void) throws {
        let directory = try TemporaryDirectory()
        var log = PinLog(path: directory.path + "/sb-1")
        try body(&log, directory.path + "/sb-1")
    }

    private static let first = IPAddress(ipv4: 0xcb00_710a)
    private static let second = IPAddress(high: 0x2001_0db8_0001_0000, low: 0x10)

    @Test func whatWasLoggedIsThereForTheNext() throws {
        try Self.withLog { log, path in
            #expect(try log.load().isEmpty)
            try log.add(Self.first, "a.test", expires: 5, all: [:])
            try log.add(Self.second, "a.test", expires: 6, all: [:])
            try log.add(Self.first, "b.test", expires: 7, all: [:])
            try log.add(Self.first, "a.test", expires: 9, all: [:])
            var next = PinLog(path: path)
            #expect(try next.load() == [Self.first: ["a.test": 9, "b.test": 7], Self.second: ["a.test": 6]])
        }
    }

    @Test func aLineThatIsNotWholeIsPassedOver() throws {
        try Self.withLog { log, path in
            try log.add(Self.first, "a.test", expires: 5, all: [:])
            for part in [
                "7 203.0.113.11 b.te", "x 203.0.113.11 b.test .", "7 nowhere b.test .", "7 203.0.113.11  .", "",
            ] {
                let file = open(path, O_WRONLY | O_APPEND)
                defer { close(file) }
                let bytes = Array((part + "\n").utf8)
                #expect(write(file, bytes, bytes.count) == bytes.count)
            }
            var next = PinLog(path: path)
            #expect(try next.load() == [Self.first: ["a.test": 5]])
        }
    }

    @Test func itStaysSmallHoweverOftenNamesAreResolved() throws {
        try Self.withLog { log, path in
            for round in 1...5000 as ClosedRange<UInt64> {
                try log.add(Self.first, "a.test", expires: round, all: [Self.first: ["a.test": round]])
            }
            #expect(try Files.content(path).count < 1100 * 30)
            var next = PinLog(path: path)
            #expect(try next.load() == [Self.first: ["a.test": 5000]])
        }
    }

    @Test func aFileThatCannotBeWrittenIsAnError() throws {
        var log = PinLog(path: "/nonexistent/sb-1")
        let error = #expect(throws: FileError.self) { try log.add(Self.first, "a.test", expires: 1, all: [:]) }
        #expect(error?.path == "/nonexistent/sb-1" && error?.errno == ENOENT)
    }
}
