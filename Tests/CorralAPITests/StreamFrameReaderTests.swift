import Testing

@testable import CorralAPI

@Suite struct StreamFrameReaderTests {
    private func frame(_ kind: StreamFrameKind, _ payload: [UInt8]) -> [UInt8] {
        StreamFrameHeader(kind: kind, length: payload.count).bytes + payload
    }

    @Test func framesAreTheSameHoweverTheyAreCut() throws {
        let bytes =
            frame(.stdout, Array("out".utf8)) + frame(.stderr, Array("err".utf8)) + frame(.stdout, [])
            + frame(.exit, [0, 0, 0, 7] + Array("exited".utf8))
        for size in 1...bytes.count {
            var reader = StreamFrameReader()
            var (out, err): ([UInt8], [UInt8]) = ([], [])
            var exit: CommandExit?
            for start in stride(from: 0, to: bytes.count, by: size) {
                reader.append(Array(bytes[start..<min(start + size, bytes.count)]))
                while let element = try reader.next() {
                    switch element {
                    case .output(false, let piece): out += piece
                    case .output(true, let piece): err += piece
                    case .exit(let value): exit = value
                    case .skipped: Issue.record("no frame of this kind was sent")
                    }
                }
            }
            #expect(out == Array("out".utf8) && err == Array("err".utf8))
            #expect(exit == CommandExit(code: 7, cause: .exited))
        }
    }

    @Test(
        arguments: [
            [9, 0, 0, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0, 0, 0], [1, 0, 0, 0, 0, 16, 0, 1],
            [1, 0, 0, 0, 255, 255, 255, 255],
            [0, 0, 0, 0, 0, 0, 0, 0], [4, 0, 0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 1], [3, 0, 0, 0, 0, 0, 0, 3],
            [3, 0, 0, 0, 0, 0, 1, 0], [3, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0], [3, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 0, 0x78],
        ] as [[UInt8]])
    func whatIsNoFrameOfACommandIsRefused(bytes: [UInt8]) {
        #expect(throws: StreamFrameError.self) {
            var reader = StreamFrameReader()
            reader.append(bytes)
            _ = try reader.next()
        }
    }

    @Test func negativeExitCodesSurvive() throws {
        var reader = StreamFrameReader()
        reader.append(frame(.exit, [255, 255, 255, 255] + Array("removed".utf8)))
        #expect(try reader.next() == .exit(CommandExit(code: -1, cause: .removed)))
    }
}
