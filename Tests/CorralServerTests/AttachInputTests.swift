import CorralAPI
import NIOCore
import Testing

@testable import CorralServer

@Suite struct AttachInputTests {
    private static let stream: [UInt8] =
        StreamFrameHeader(kind: .stdin, length: 5).bytes + Array("hello".utf8)
        + StreamFrameHeader(kind: .signal, length: 1).bytes
        + [2] + StreamFrameHeader(kind: .stdin, length: 0).bytes + StreamFrameHeader(kind: .stdin, length: 1).bytes + [
            33
        ]
        + StreamFrameHeader(kind: .stdinEnd, length: 0).bytes

    /// Inputs of `bytes` cut into pieces of `size`, stdin joined.
    private func parse(_ bytes: [UInt8], size: Int) throws -> [AttachInput] {
        var parser = AttachInputParser()
        var inputs: [AttachInput] = []
        for start in stride(from: 0, to: bytes.count, by: size) {
            for input in try parser.parse(ByteBuffer(bytes: bytes[start..<min(start + size, bytes.count)])) {
                if case .stdin(let more) = input, case .stdin(var before) = inputs.last {
                    before.writeImmutableBuffer(more)
                    inputs[inputs.count - 1] = .stdin(before)
                } else {
                    inputs.append(input)
                }
            }
        }
        try parser.end()
        return inputs
    }

    @Test func anyCutGivesTheSame() throws {
        let expected: [AttachInput] = [
            .stdin(ByteBuffer(string: "hello")), .signal(2), .stdin(ByteBuffer(string: "!")), .stdinEnd,
        ]
        for size in 1...Self.stream.count {
            #expect(try parse(Self.stream, size: size) == expected, "pieces of \(size)")
        }
    }

    @Test func sizesAndLeavingSurviveAnyCut() throws {
        let stream =
            StreamFrameHeader(kind: .resize, length: 4).bytes + [0, 50, 1, 0]
            + StreamFrameHeader(kind: .detach, length: 0).bytes
        for size in 1...stream.count {
            #expect(try parse(stream, size: size) == [.resize(rows: 50, columns: 256), .detach], "pieces of \(size)")
        }
    }

    @Test func aBodyThatEndsInsideAFrameIsAnError() throws {
        for count in 1..<8 { #expect(throws: FrameError.self) { try parse(Array(Self.stream.prefix(count)), size: 8) } }
        #expect(throws: FrameError.self) { try parse(Array(Self.stream.prefix(10)), size: 8) }
        #expect(try parse(Array(Self.stream.prefix(13)), size: 8) == [.stdin(ByteBuffer(string: "hello"))])
    }

    @Test func stdinAfterItsEndIsAnErrorAndASignalIsNot() throws {
        let signal = StreamFrameHeader(kind: .signal, length: 1).bytes + [9]
        #expect(try parse(Self.stream + signal, size: 3).last == .signal(9))
        let stdin = StreamFrameHeader(kind: .stdin, length: 1).bytes + [9]
        #expect(throws: FrameError.self) { try parse(Self.stream + stdin, size: 3) }
    }

    @Test func randomBytesNeverTrap() {
        var generator = SplitMix(state: 7)
        var refused = 0
        for _ in 0..<5_000 {
            var bytes = Self.stream
            for _ in 0..<Int.random(in: 0...4, using: &generator) {
                bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(in: 0...255, using: &generator)
            }
            do { _ = try parse(bytes, size: Int.random(in: 1...16, using: &generator)) } catch { refused += 1 }
        }
        #expect((1_000..<5_000).contains(refused))
    }
}

@Suite struct ByteMailboxTests {
    @Test func theReaderGetsAllThatWaitsAtOnce() async throws {
        let mailbox = ByteMailbox(limit: 100)
        try await mailbox.write(ByteBuffer(string: "a"))
        try await mailbox.write(ByteBuffer(string: "b"))
        #expect(await mailbox.read() == ByteBuffer(string: "ab"))
        try await mailbox.write(ByteBuffer(string: "c"))
        mailbox.finish()
        #expect(await mailbox.read() == ByteBuffer(string: "c"))
        #expect(await mailbox.read() == nil)
    }

    @Test func theWriterWaitsForTheReader() async throws {
        let mailbox = ByteMailbox(limit: 2)
        try await mailbox.write(ByteBuffer(string: "ab"))
        let log = EventLog()
        let writer = Task {
            try await mailbox.write(ByteBuffer(string: "c"))
            log.add("written")
        }
        try await Task.sleep(for: .milliseconds(50))
        #expect(log.all.isEmpty)
        #expect(await mailbox.read() == ByteBuffer(string: "ab"))
        try await writer.value
        #expect(await mailbox.read() == ByteBuffer(string: "c"))
    }

    @Test func cancellingOneSideReleasesTheOther() async throws {
        let waiting = ByteMailbox(limit: 1)
        let reader = Task { await waiting.read() }
        try await Task.sleep(for: .milliseconds(20))
        reader.cancel()
        #expect(await reader.value == nil)
        await #expect(throws: CancellationError.self) { try await waiting.write(ByteBuffer(string: "x")) }

        let full = ByteMailbox(limit: 1)
        try await full.write(ByteBuffer(string: "x"))
        let writer = Task { try await full.write(ByteBuffer(string: "y")) }
        try await Task.sleep(for: .milliseconds(20))
        writer.cancel()
        await #expect(throws: CancellationError.self) { try await writer.value }
        #expect(await full.read() == nil)
    }

    @Test func manyBytesArriveInOrder() async throws {
        let mailbox = ByteMailbox(limit: 64)
        let writer = Task {
            for number in UInt32(0)..<20_000 { try await mailbox.write(ByteBuffer(integer: number)) }
            mailbox.finish()
        }
        var expected: UInt32 = 0
        while var piece = await mailbox.read() {
            while let number = piece.readInteger(as: UInt32.self) {
                if number != expected { Issue.record("\(number) where \(expected) was due"); return }
                expected += 1
            }
        }
        try await writer.value
        #expect(expected == 20_000)
    }
}
