import CorralKernel
import Dispatch
import Glibc
import Testing

@testable import CorralEngine

/// A session over pipes that the test writes.
@Suite struct CommandSessionTests {
    /// Closed with it.
    final class FileHandle: Sendable {
        let descriptor: SharedDescriptor

        init(_ raw: Int32) { descriptor = SharedDescriptor(FileDescriptor(owning: raw)) }

        func write(_ text: String) { _ = Glibc.write(descriptor.raw, text, text.utf8.count) }
    }

    private static func pipe() throws -> (read: Int32, write: Int32) {
        var ends: [Int32] = [-1, -1]
        guard Glibc.pipe(&ends) == 0 else { throw KernelError(call: "pipe", errno: errno) }
        return (ends[0], ends[1])
    }

    private static func withSession(
        drains: Bool = false, log: OutputLog? = nil,
        _ body: (CommandSession, _ stdin: FileHandle, _ stdout: FileHandle, _ stderr: FileHandle)
            async throws -> Void
    ) async throws {
        let (input, output, errors) = (try pipe(), try pipe(), try pipe())
        let session = try CommandSession(
            pipes: CommandSession.Pipes(
                stdin: SharedDescriptor(FileDescriptor(owning: input.write)),
                stdout: SharedDescriptor(FileDescriptor(owning: output.read)),
                stderr: SharedDescriptor(FileDescriptor(owning: errors.read))),
            poller: try Poller(), log: log, drains: drains)
        try await body(session, FileHandle(input.read), FileHandle(output.write), FileHandle(errors.write))
    }

    /// Away from the threads that tasks run on, which it would hold.
    private static func blocking(_ work: @escaping @Sendable () -> Int) async -> Int {
        await withCheckedContinuation { continuation in
            DispatchQueue.global().async { continuation.resume(returning: work()) }
        }
    }

    private static let exit = CommandResult(exitCode: 0, cause: .exited)

    /// Everything up to the exit: stdout, stderr.
    private static func all(_ session: CommandSession, _ reader: UInt64) async throws -> (
        String, String, CommandResult?
    ) {
        var (out, err): ([UInt8], [UInt8]) = ([], [])
        while let chunk = try await session.next(reader) {
            switch chunk {
            case .stdout(let bytes): out += bytes
            case .stderr(let bytes): err += bytes
            case .exit(let result):
                return (String(decoding: out, as: UTF8.self), String(decoding: err, as: UTF8.self), result)
            }
        }
        return (String(decoding: out, as: UTF8.self), String(decoding: err, as: UTF8.self), nil)
    }

    @Test func theFirstReaderGetsEverythingAndTheExitLast() async throws {
        try await Self.withSession { session, _, stdout, stderr in
            stdout.write("early ")
            stderr.write("warn")
            try await Task.sleep(for: .milliseconds(20))
            let reader = try #require(session.attach(.stdin))
            stdout.write("late")
            try await Task.sleep(for: .milliseconds(20))
            session.finish(Self.exit)
            let (out, err, result) = try await Self.all(session, reader)
            #expect(out == "early late" && err == "warn" && result == Self.exit)
        }
    }

    @Test func readersAfterTheFirstGetWhatComesFromThenOn() async throws {
        try await Self.withSession { session, _, stdout, _ in
            let first = try #require(session.attach(.stdin))
            stdout.write("one ")
            try await Task.sleep(for: .milliseconds(50))
            let second = try #require(session.attach(.nothing))
            stdout.write("two")
            try await Task.sleep(for: .milliseconds(50))
            session.finish(Self.exit)
            #expect(try await Self.all(session, first).0 == "one two")
            #expect(try await Self.all(session, second).0 == "two")
        }
    }

    @Test func aDrainedCommandIsNeverHeldUpAndItsLogIsKept() async throws {
        let log = OutputLog()
        try await Self.withSession(drains: true, log: log) { session, _, stdout, _ in
            let raw = stdout.descriptor.raw
            // Blocks for ever unless somebody reads.
            let piece = [UInt8](repeating: 1, count: 64 << 10)
            let written = await Self.blocking { (0..<64).reduce(0) { sum, _ in sum + write(raw, piece, piece.count) } }
            #expect(written == 4 << 20)
            session.finish(Self.exit)
            let ended = try await session.ending.wait()
            #expect(ended == Self.exit)
            #expect(await eventually { log.read(from: 0).isFinished })
            #expect(log.read(from: 0).end == 4 << 20)
        }
    }

    @Test func aReaderThatDoesNotReadHoldsTheCommandUp() async throws {
        try await Self.withSession { session, _, stdout, _ in
            let raw = stdout.descriptor.raw
            _ = fcntl(raw, F_SETFL, O_NONBLOCK)
            let (slow, fast) = (try #require(session.attach(.nothing)), try #require(session.attach(.nothing)))
            let reading = Task { try await Self.all(session, fast) }
            let piece = [UInt8](repeating: 1, count: 64 << 10)
            var written = 0
            var idle = 0
            while idle < 20 {
                let count = write(raw, piece, piece.count)
                if count > 0 { (written, idle) = (written + count, 0) } else { idle += 1 }
                try await Task.sleep(for: .milliseconds(5))
            }
            // A queue, a chunk, and a pipe of 1 MiB.
            #expect((512 << 10...3 << 20).contains(written), "\(written)")
            // Once it reads, all of it arrives with both.
            session.finish(Self.exit)
            #expect(try await Self.all(session, slow).0.utf8.count == written)
            #expect(try await reading.value.0.utf8.count == written)
        }
    }

    @Test func aReaderThatLeavesHoldsNobodyUp() async throws {
        try await Self.withSession { session, _, stdout, _ in
            let raw = stdout.descriptor.raw
            let (slow, fast) = (try #require(session.attach(.nothing)), try #require(session.attach(.nothing)))
            let reading = Task { try await Self.all(session, fast).0.utf8.count }
            let piece = [UInt8](repeating: 1, count: 64 << 10)
            async let writing = Self.blocking { (0..<128).reduce(0) { sum, _ in sum + write(raw, piece, piece.count) } }
            try await Task.sleep(for: .milliseconds(50))
            #expect(session.detach(slow))
            #expect(!session.detach(slow))
            #expect(await writing == 8 << 20)
            session.finish(Self.exit)
            #expect(try await reading.value == 8 << 20)
            #expect(try await session.next(slow) == nil)
        }
    }

    @Test func aChildThatHoldsThePipeDoesNotDelayTheEnd() async throws {
        try await Self.withSession { session, _, stdout, _ in
            let reader = try #require(session.attach(.nothing))
            stdout.write("said before")
            session.finish(Self.exit)
            let (out, _, result) = try await Self.all(session, reader)
            #expect(out == "said before" && result == Self.exit)
            // What writes on meets a pipe that nobody reads.
            signal(SIGPIPE, SIG_IGN)
            let raw = stdout.descriptor.raw
            #expect(await eventually { write(raw, "x", 1) == -1 })
        }
    }

    @Test func oneReaderAtATimeWrites() async throws {
        try await Self.withSession { session, stdin, _, _ in
            let first = try #require(session.attach(.stdinIfFree))
            #expect(session.attach(.stdin) == nil)
            let second = try #require(session.attach(.stdinIfFree))
            try await session.write([65], reader: first)
            await #expect(throws: EngineError.self) { try await session.write([66], reader: second) }
            session.closeStdin(reader: second)
            #expect(session.detach(first))
            let third = try #require(session.attach(.stdin))
            try await session.write([67], reader: third)
            session.closeStdin(reader: third)
            var bytes = [UInt8](repeating: 0, count: 8)
            #expect(read(stdin.descriptor.raw, &bytes, 8) == 2)
            #expect(bytes.prefix(2) == [65, 67])
            #expect(read(stdin.descriptor.raw, &bytes, 8) == 0)
        }
    }

    @Test func whoComesAfterTheEndGetsTheExitAlone() async throws {
        try await Self.withSession(drains: true) { session, _, stdout, _ in
            stdout.write("gone")
            try await Task.sleep(for: .milliseconds(50))
            session.finish(Self.exit)
            try await Task.sleep(for: .milliseconds(50))
            let reader = try #require(session.attach(.stdinIfFree))
            let (out, _, result) = try await Self.all(session, reader)
            #expect(out == "" && result == Self.exit)
        }
    }

    private func eventually(_ condition: () -> Bool) async -> Bool {
        for _ in 0..<400 {
            if condition() { return true }
            try? await Task.sleep(for: .milliseconds(5))
        }
        return condition()
    }
}
