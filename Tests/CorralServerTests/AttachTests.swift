import CorralAPI
import CorralEngine
import CorralEvents
import Glibc
import Testing

@testable import CorralServer

@Suite struct AttachTests {
    private static let head = "POST /v1/sandboxes/sb-1/attach HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"

    private static func frame(_ kind: StreamFrameKind, _ payload: [UInt8] = []) -> [UInt8] {
        StreamFrameHeader(kind: kind, length: payload.count).bytes + payload
    }

    /// Attaches to `sb-1`, which `command` plays, and reads the answer's head.
    private static func attached(
        _ command: FakeCommand, autoRemove: Bool = true,
        _ body: @Sendable @escaping (TestServer, RawClient) async throws -> Void
    ) async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1", autoRemove: autoRemove, streams: command.streams)
            let client = try server.client()
            await client.send(head)
            let answer = await client.readHead()
            #expect(answer.status == 200)
            #expect(answer.fields["content-type"] == "application/vnd.corral.stream")
            try await body(server, client)
        }
    }

    @Test func bothDirectionsFlowBeforeTheRequestEnds() async throws {
        let command = FakeCommand(echo: true)
        try await Self.attached(command) { _, client in
            for text in ["one", "two", "three"] {
                await client.sendChunk(Self.frame(.stdin, Array(text.utf8)))
                #expect(await client.readChunk() == Self.frame(.stdout, Array(text.utf8)))
            }
            command.send(.stderr(Array("warn".utf8)))
            #expect(await client.readChunk() == Self.frame(.stderr, Array("warn".utf8)))
            await client.sendChunk(Self.frame(.signal, [15]))
            await client.sendChunk(Self.frame(.stdinEnd))
            #expect(await eventually { command.log.contains("eof") && command.log.contains("signal 15") })
            command.send(.exit(CommandResult(exitCode: 3, cause: .exited)))
            #expect(await client.readChunk() == Self.frame(.exit, [0, 0, 0, 3] + Array("exited".utf8)))
            #expect(await client.readChunk() == [])
            #expect(await client.isAtEnd())
            #expect(await eventually { command.log.contains("detach") })
        }
    }

    @Test func anEmptyRequestBodyStillGetsAllOutput() async throws {
        let command = FakeCommand()
        try await TestServer.run { server in
            await server.engine.add("sb-1", streams: command.streams)
            let client = try server.client()
            await client.send("POST /v1/sandboxes/sb-1/attach HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            #expect(await client.readHead().status == 200)
            command.send(.stdout([1]))
            #expect(await client.readChunk() == Self.frame(.stdout, [1]))
            command.send(.exit(CommandResult(exitCode: -1, cause: .signalled)))
            #expect(await client.readChunk() == Self.frame(.exit, [255, 255, 255, 255] + Array("signalled".utf8)))
            #expect(!command.log.contains("eof"))
        }
    }

    @Test func aSignalPassesInputThatTheCommandDoesNotRead() async throws {
        let command = FakeCommand(readsStdin: false)
        try await Self.attached(command) { server, client in
            await client.sendChunk(Self.frame(.stdin, [UInt8](repeating: 1, count: 100_000)))
            await client.sendChunk(Self.frame(.signal, [2]))
            #expect(await eventually { command.log.contains("signal 2") })
            // Written down before it is sent.
            let recorded = try #require(server.engine.recorded.first)
            #expect(recorded.record.action == .kill)
            #expect(recorded.record.signal == 2)
            #expect(recorded.record.by?.pid == getpid())
            command.send(.exit(CommandResult(exitCode: 130, cause: .signalled)))
            #expect(await client.readChunk() == Self.frame(.exit, [0, 0, 0, 130] + Array("signalled".utf8)))
        }
    }

    @Test(
        arguments: [
            [99, 0, 0, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 255, 255, 255, 255],
            [1, 0, 0, 0, 0, 0, 0, 0],
            [4, 0, 0, 0, 0, 0, 0, 1], [7, 0, 0, 0, 0, 0, 0, 2, 1, 1], [8, 0, 0, 0, 0, 0, 0, 1, 0],
            [9, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0], [5, 0, 0, 0, 0, 0, 0, 1, 0],
            [5, 0, 0, 0, 0, 0, 0, 2, 1, 1],
        ] as [[UInt8]])
    func bytesThatAreNoFramesDetach(bytes: [UInt8]) async throws {
        let command = FakeCommand()
        try await Self.attached(command, autoRemove: false) { server, client in
            await client.sendChunk(bytes)
            #expect(await client.readChunk() == nil)
            #expect(await eventually { command.log.contains("detach") })
            #expect(await server.engine.removals.isEmpty)
        }
    }

    @Test func aClientThatLeavesRemovesACommandThatWasToLeaveNothing() async throws {
        let command = FakeCommand()
        try await Self.attached(command) { server, client in
            client.close()
            #expect(await eventually { await server.engine.removals.map(\.force) == [true] })
            #expect(command.log.contains("detach"))
        }
    }

    @Test func aClientThatLeavesLetsOthersRunOn() async throws {
        let command = FakeCommand()
        try await Self.attached(command, autoRemove: false) { server, client in
            client.close()
            #expect(await eventually { command.log.contains("detach") })
            #expect(await server.engine.removals.isEmpty)
        }
    }

    @Test func aClientThatLeavesAfterItsWholeRequestIsNoticedToo() async throws {
        let command = FakeCommand()
        try await Self.attached(command, autoRemove: false) { _, client in
            await client.send("0\r\n\r\n")
            try await Task.sleep(for: .milliseconds(50))
            #expect(!command.log.contains("detach"))
            client.close()
            #expect(await eventually { command.log.contains("detach") })
        }
    }

    @Test func aReaderThatStopsStopsTheCommandsOutput() async throws {
        let source = PulledOutput(chunks: 200, size: 65_536)
        let log = EventLog()
        let streams = CommandStreams(
            output: source, writeStdin: { _ in }, closeStdin: {}, signal: { _ in }, detach: { log.add("detach") }
        )
        try await TestServer.run { server in
            await server.engine.add("sb-1", streams: streams)
            let client = try server.client()
            await client.send(Self.head)
            #expect(await client.readHead().status == 200)
            // The socket's buffer, the channel's queue and one piece in the pump hold some; the rest must stay in the pipe.
            var pulled = -1
            while pulled != source.pulled {
                pulled = source.pulled
                try await Task.sleep(for: .milliseconds(200))
            }
            #expect((1...12).contains(pulled), "\(pulled) chunks of 64 KiB were taken from a command nobody reads")
            var total = 0
            var last: [UInt8] = []
            while let chunk = await client.readChunk(), !chunk.isEmpty {
                total += chunk.count
                last = chunk
            }
            #expect(last == Self.frame(.exit, [0, 0, 0, 0] + Array("exited".utf8)))
            #expect(total == 200 * (65_536 + 8) + last.count)
        }
    }

    @Test func aReaderThatStopsDoesNotKeepTheServerFromStopping() async throws {
        let log = EventLog()
        let streams = CommandStreams(
            output: PulledOutput(chunks: .max, size: 65_536), writeStdin: { _ in }, closeStdin: {}, signal: { _ in },
            detach: { log.add("detach") }
        )
        let client = try await TestServer.run { server in
            await server.engine.add("sb-1", streams: streams)
            let client = try server.client()
            await client.send(Self.head)
            #expect(await client.readHead().status == 200)
            return client
        }
        #expect(log.contains("detach"))
        client.close()
    }

    @Test func aClientThatDetachesLeavesTheCommandRunning() async throws {
        let command = FakeCommand()
        try await Self.attached(command) { server, client in
            await client.sendChunk(Self.frame(.detach))
            #expect(await client.readChunk() == nil)
            #expect(await eventually { command.log.contains("detach") })
            #expect(await server.engine.removals.isEmpty)
        }
    }

    @Test func aReaderThatOwnsNothingRemovesNothing() async throws {
        let command = FakeCommand(ownsSandbox: false)
        try await Self.attached(command) { server, client in
            client.close()
            #expect(await eventually { command.log.contains("detach") })
            #expect(await server.engine.removals.isEmpty)
        }
    }

    @Test func aNewSizeReachesTheTerminal() async throws {
        let command = FakeCommand()
        try await Self.attached(command) { _, client in
            await client.sendChunk(Self.frame(.resize, [1, 2, 0, 80]))
            #expect(await eventually { command.log.contains("resize 258 80") })
        }
    }

    @Test(
        arguments: [
            ("", nil, CommandStreams.Input.ifFree), ("?stdin=true", nil, .claimed),
            ("?stdin=false&exec=ex-1", "ex-1", .none),
        ] as [(String, String?, CommandStreams.Input)])
    func theQueryNamesTheCommandAndWhoWrites(
        query: String, command: String?, input: CommandStreams.Input
    ) async throws {
        let played = FakeCommand()
        try await TestServer.run { server in
            await server.engine.add("sb-1", streams: played.streams)
            let client = try server.client()
            await client.send("POST /v1/sandboxes/sb-1/attach\(query) HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            #expect(await client.readHead().status == 200)
            let attachment = try #require(await server.engine.attachments.first)
            #expect(attachment.command == command && attachment.input == input)
        }
    }

    @Test func anUnknownQueryIsRefused() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-1")
            for query in ["stdin=maybe", "exe=1"] {
                let answer = try await server.client().request("POST", "/v1/sandboxes/sb-1/attach?\(query)", body: "")
                #expect(answer.status == 400, "\(query)")
            }
        }
    }

    @Test func failedStreamsBreakTheResponseOff() async throws {
        let command = FakeCommand()
        try await Self.attached(command) { _, client in
            command.fail(EngineError(.internal, "pipe"))
            #expect(await client.readChunk() == nil)
        }
    }

    @Test func attachingToNothingIsAnOrdinaryError() async throws {
        try await TestServer.run { server in
            await server.engine.add("sb-held")
            let client = try server.client()
            #expect(await client.request("POST", "/v1/sandboxes/sb-none/attach", body: "").status == 404)
            #expect(await client.request("POST", "/v1/sandboxes/sb-held/attach", body: "").status == 409)
        }
    }

    @Test func aStoppingServerHandsOverTheExitOfWhatItRemoves() async throws {
        let command = FakeCommand()
        try await Self.attached(command) { server, client in
            await server.engine.whenRemoved { _ in command.send(.exit(CommandResult(exitCode: 137, cause: .removed))) }
            await server.stop()
            #expect(await client.readChunk() == Self.frame(.exit, [0, 0, 0, 137] + Array("removed".utf8)))
            #expect(await client.readChunk() == [])
            #expect(await server.engine.removals.map(\.reference) == ["sb-1"])
        }
    }
}

/// Output that is made only when it is asked for, and counts.
private final class PulledOutput: AsyncSequence, Sendable {
    typealias Element = CommandStreams.Chunk
    typealias Failure = any Error

    private let chunks: Int
    private let size: Int
    private let log = EventLog()

    init(chunks: Int, size: Int) {
        self.chunks = chunks
        self.size = size
    }

    var pulled: Int { log.all.count }

    func makeAsyncIterator() -> Iterator { Iterator(output: self) }

    struct Iterator: AsyncIteratorProtocol {
        let output: PulledOutput
        var hasEnded = false

        mutating func next() async throws -> CommandStreams.Chunk? {
            if hasEnded { return nil }
            if output.pulled < output.chunks {
                output.log.add("chunk")
                return .stdout([UInt8](repeating: 7, count: output.size))
            }
            hasEnded = true
            return .exit(CommandResult(exitCode: 0, cause: .exited))
        }
    }
}
