internal import CorralAPI
internal import CorralEngine
internal import FoundationEssentials
internal import NIOCore

/// Moves bytes between the streams of a command and one client, both ways at once, until one of them ends.
struct AttachPump: Sendable {
    /// Why it stopped.
    enum Ending: Sendable {
        /// The exit frame was handed over.
        case exited
        case disconnected
        /// The client left, and the command is to run on.
        case detached
        /// The client sent what is no frame.
        case malformedInput(FrameError)
        /// The command's streams failed, or ended without an exit.
        case outputFailed(any Error)
        /// `interruption` returned.
        case interrupted
    }

    /// Standard input that may wait for the command before the client is made to wait, so that a signal behind some
    /// input still gets through to a command that does not read.
    static let inputLimit = 256 << 10

    let streams: CommandStreams
    /// Returns once the client has taken enough to be sent more.
    let write: @Sendable (ByteBuffer) async throws -> Void
    /// Returns once the client is gone.
    let disconnection: @Sendable () async -> Void
    /// Returns once the server must let go.
    let interruption: @Sendable () async -> Void
    /// Told of each signal before it is sent.
    var signalled: @Sendable (Int32) async -> Void = { _ in }

    /// The streams are detached when this returns.
    func run(input body: some AsyncSequence<ByteBuffer, any Error> & Sendable) async -> Ending {
        let stdin = ByteMailbox(limit: Self.inputLimit)
        return await withTaskGroup(of: Ending?.self) { group in
            group.addTask { await sendOutput() }
            group.addTask { await takeInput(body, stdin: stdin) }
            group.addTask {
                await feed(stdin)
                return nil
            }
            group.addTask {
                await disconnection()
                return Task.isCancelled ? nil : .disconnected
            }
            group.addTask {
                await interruption()
                return Task.isCancelled ? nil : .interrupted
            }
            var ending: Ending?
            while ending == nil, let next = await group.next() { ending = next }
            group.cancelAll()
            // Before the rest is waited for: a write to a command that never reads ends with this.
            await streams.detach()
            return ending ?? .disconnected
        }
    }

    private func sendOutput() async -> Ending? {
        do {
            for try await chunk in streams.output {
                let frames = StreamFrames.encode(chunk)
                do {
                    try await write(frames)
                } catch {
                    return .disconnected
                }
                if case .exit = chunk { return .exited }
            }
            return Task.isCancelled ? nil : .outputFailed(FrameError("the streams ended without an exit"))
        } catch {
            return Task.isCancelled ? nil : .outputFailed(error)
        }
    }

    private func takeInput(
        _ body: some AsyncSequence<ByteBuffer, any Error> & Sendable, stdin: ByteMailbox
    ) async -> Ending? {
        var parser = AttachInputParser()
        do {
            for try await bytes in body {
                for input in try parser.parse(bytes) {
                    switch input {
                    case .stdin(let bytes): try await stdin.write(bytes)
                    case .stdinEnd: stdin.finish()
                    // A signal to a command that has just ended is nobody's error.
                    case .signal(let number):
                        await signalled(number)
                        try? await streams.signal(number)
                    case .resize(let rows, let columns):
                        await streams.resize(CorralEngine.TerminalSize(rows: rows, columns: columns))
                    case .detach: return .detached
                    }
                }
            }
            if Task.isCancelled { return nil }
            try parser.end()
            return nil
        } catch let error as FrameError {
            return .malformedInput(error)
        } catch {
            // The body broke off: the connection did.
            return Task.isCancelled ? nil : .disconnected
        }
    }

    /// Ends at the end of stdin, or when the pump is over. A body that ends without `stdinEnd` leaves stdin open.
    private func feed(_ stdin: ByteMailbox) async {
        var isOpen = true
        while let bytes = await stdin.read() {
            guard isOpen else { continue }
            var rest = bytes
            while isOpen, let piece = rest.readBytes(length: min(rest.readableBytes, 64 << 10)), !piece.isEmpty {
                do {
                    try await streams.writeStdin(piece)
                } catch {
                    // The command closed its stdin: what else comes for it is dropped, as a shell's pipe would.
                    isOpen = false
                }
            }
        }
        if isOpen, !Task.isCancelled { await streams.closeStdin() }
    }
}

/// Frames of a response body.
enum StreamFrames {
    static func encode(_ chunk: CommandStreams.Chunk) -> ByteBuffer {
        switch chunk {
        case .stdout(let bytes): return frames(.stdout, bytes)
        case .stderr(let bytes): return frames(.stderr, bytes)
        case .exit(let result):
            var payload = ByteBuffer(integer: result.exitCode)
            payload.writeString(result.cause.rawValue)
            let end = frames(.exit, Array(payload.readableBytesView))
            guard !result.refusals.isEmpty, let summary = try? JSONEncoder().encode(result.refusals),
                summary.count <= StreamFrameHeader.maximumPayload
            else { return end }
            var both = frames(.refusals, Array(summary))
            both.writeImmutableBuffer(end)
            return both
        }
    }

    static func encode(_ chunk: LogChunk) -> ByteBuffer {
        switch chunk {
        case .stdout(let bytes): return frames(.stdout, bytes)
        case .stderr(let bytes): return frames(.stderr, bytes)
        case .skipped(let count): return frames(.skipped, Array(ByteBuffer(integer: count).readableBytesView))
        }
    }

    /// One frame, or several where the payload is larger than one may hold.
    private static func frames(_ kind: StreamFrameKind, _ payload: [UInt8]) -> ByteBuffer {
        var rest = payload[...]
        var buffer = ByteBuffer()
        buffer.reserveCapacity(payload.count + StreamFrameHeader.size)
        repeat {
            let piece = rest.prefix(StreamFrameHeader.maximumPayload)
            rest = rest.dropFirst(piece.count)
            buffer.writeBytes(StreamFrameHeader(kind: kind, length: piece.count).bytes)
            buffer.writeBytes(piece)
        } while !rest.isEmpty
        return buffer
    }
}
