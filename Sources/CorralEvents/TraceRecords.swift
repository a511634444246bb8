internal import CorralABI
internal import CorralPolicy

/// Renders records of calls, as a frame of `EventFrame` carries them: as events, or as the JSON lines that `Event.jsonLine`
/// makes of those events, byte for byte and several times faster, since what does not change from call to call is written once.
public final class TraceRecords {
    /// What the lines of one sandbox share.
    private final class Source {
        let source: TraceSource
        /// From behind `seq` to the process.
        let beginning: [UInt8]
        var processes: [UInt32: Process] = [:]

        init(_ source: TraceSource) {
            self.source = source
            var json = JSONWriter()
            json.beginObject()
            json.key("sandbox")
            json.beginObject()
            json.key("id")
            json.string(source.context.sandbox.id)
            json.key("name")
            json.string(source.context.sandbox.name)
            json.endObject()
            json.key("type")
            json.string(EventType.syscall.rawValue)
            // The brace is a comma within the line.
            beginning = [UInt8(ascii: ",")] + json.bytes.dropFirst()
        }
    }

    /// What the lines of one thread share, for as long as `key` stays the same.
    private struct Process {
        var key: [UInt8]
        var json: [UInt8]
    }

    /// What the lines of one call share.
    private struct Call {
        var name: String?
        var abi: SyscallABI
        var signature: SyscallSignature?
        /// Its name, up to the bracket that its arguments begin with.
        var json: [UInt8]
    }

    /// Of the head: what says which process and thread it was.
    private static let keyStart = TraceLayout.shared.pid
    private static let keyEnd = TraceLayout.shared.headBytes
    private static let mostProcesses = 4096

    private var sources: [UInt32: Source] = [:]
    private var current: Source?
    private var calls: [Call?] = Array(repeating: nil, count: Int(CORRAL_TRACE_ROWS))
    /// `{"time":"2026-11-24T05:12:01.` of this second.
    private var second = Int64.min
    private var secondText: [UInt8] = []

    public init() {}

    /// Takes a frame of kind `source`.
    public func learn(_ source: TraceSource) {
        sources[source.slot] = Source(source)
        current = nil
    }

    private func source(of record: WireTrace) throws(EventParseError) -> Source {
        if let current, current.source.slot == record.slot, current.source.epoch == record.epoch { return current }
        guard let found = sources[record.slot], found.source.epoch == record.epoch else {
            throw .field("frame", expected: "a source before its records")
        }
        current = found
        return found
    }

    /// Calls `body` with each record of a frame of kind `records` and with what is known of its sandbox.
    private func forEach(
        _ bytes: UnsafeRawBufferPointer, _ body: (WireTrace, Source) -> Void
    ) throws(EventParseError) {
        var rest = bytes
        while !rest.isEmpty {
            guard let first = WireTrace.first(in: rest) else { throw .field("frame", expected: "whole records") }
            let record: WireTrace
            do throws(WireError) {
                record = try WireTrace(bytes: first)
            } catch {
                throw .field("frame", expected: "records of this build's ABI, not \(error)")
            }
            guard record.type == .syscall else { throw .field("frame", expected: "records of calls") }
            body(record, try source(of: record))
            rest = UnsafeRawBufferPointer(rebasing: rest[first.count...])
        }
    }

    /// The events of a frame of kind `records`.
    public func events(_ bytes: [UInt8]) throws(EventParseError) -> [Event] {
        var events: [Event] = []
        try withBytes(bytes) { bytes throws(EventParseError) in
            try forEach(bytes) { record, source in events.append(record.event(in: source.source.context)) }
        }
        return events
    }

    /// Appends the JSON lines of a frame of kind `records`. Returns how many there are.
    @discardableResult
    public func appendLines(of bytes: [UInt8], to lines: LineBuffer) throws(EventParseError) -> Int {
        var count = 0
        try withBytes(bytes) { bytes throws(EventParseError) in
            try forEach(bytes) { record, source in
                count += 1
                // Few are refused, resumed or without end.
                if record.flags == 0 {
                    append(record, source, to: lines)
                } else {
                    lines.append(record.event(in: source.source.context).jsonLine)
                }
            }
        }
        return count
    }

    private func withBytes(
        _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(EventParseError) -> Void
    ) throws(EventParseError) {
        let result = bytes.withUnsafeBytes { bytes -> Result<Void, EventParseError> in
            do throws(EventParseError) {
                try body(bytes)
                return .success(())
            } catch {
                return .failure(error)
            }
        }
        try result.get()
    }

    private func append(_ record: WireTrace, _ source: Source, to lines: LineBuffer) {
        let layout = TraceLayout.shared
        append(time: record, source, to: lines)
        lines.append(record.seq)
        lines.append(source.beginning)
        append(process: record, source, to: lines)
        let row = record.row
        // What counts with others has no number of its own.
        let call = row == Int(CORRAL_TRACE_ROWS) - 1 ? Self.call(of: record) : known(row, record)
        lines.append(call.json)
        let result = Int64(bitPattern: record.load(layout.result, as: UInt64.self))
        if call.signature?.kinds.isEmpty != true {
            let decoder = SyscallDecoder(
                name: call.name, abi: call.abi, arguments: (0..<6).map { record.load(layout.arguments + $0 * 8) },
                result: result, captures: record.captures)
            var json = JSONWriter()
            json.beginObject()
            json.strings(decoder.decoded(by: call.signature))
            json.bytes.withUnsafeBytes { lines.append(UnsafeRawBufferPointer(rebasing: $0[2..<($0.count - 1)])) }
        }
        lines.append("],\"result\":")
        lines.append(signed: result)
        if result < 0, let error = ErrorName.of(result: result) {
            lines.append(",\"error\":\"")
            lines.append(Array(error.utf8))
            lines.append(UInt8(ascii: "\""))
        }
        lines.append(",\"duration_ns\":")
        lines.append(record.load(layout.duration, as: UInt64.self))
        lines.append("}\n")
    }

    private func append(time record: WireTrace, _ source: Source, to lines: LineBuffer) {
        let time = record.time(in: source.source.context)
        var (seconds, nanoseconds) = time.quotientAndRemainder(dividingBy: 1_000_000_000)
        if nanoseconds < 0 {
            seconds -= 1
            nanoseconds += 1_000_000_000
        }
        if seconds != second || secondText.isEmpty {
            second = seconds
            secondText = Array("{\"time\":\"".utf8)
            RFC3339.append(time, to: &secondText)
            secondText.removeLast(10)
        }
        lines.append(secondText)
        lines.append(UInt64(nanoseconds), digits: 9)
        lines.append("Z\",\"seq\":")
    }

    private func append(process record: WireTrace, _ source: Source, to lines: LineBuffer) {
        let key = UnsafeRawBufferPointer(rebasing: record.record[Self.keyStart..<Self.keyEnd])
        let thread: UInt32 = record.load(TraceLayout.shared.hostTid)
        if let known = source.processes[thread], known.key.elementsEqual(key) {
            lines.append(known.json)
            return
        }
        var json = JSONWriter()
        json.beginObject()
        json.key("process")
        record.process(in: source.source.context).write(to: &json)
        json.key("tid")
        json.number(record.load(TraceLayout.shared.tid, as: UInt32.self))
        let bytes = [UInt8(ascii: ",")] + json.bytes.dropFirst()
        if source.processes.count >= Self.mostProcesses { source.processes = [:] }
        source.processes[thread] = Process(key: Array(key), json: bytes)
        lines.append(bytes)
    }

    private func known(_ row: Int, _ record: WireTrace) -> Call {
        if let call = calls[row] { return call }
        let call = Self.call(of: record)
        calls[row] = call
        return call
    }

    private static func call(of record: WireTrace) -> Call {
        let layout = TraceLayout.shared
        let abi = WireTrace.abi(record.load(layout.abi))
        let number: UInt32 = record.load(layout.number)
        let name = SyscallTable.name(number, abi)
        var json = JSONWriter()
        json.beginObject()
        json.key("name")
        json.string(name ?? WireTrace.name(ofUnknown: number, abi))
        json.key("abi")
        json.string(abi.rawValue)
        json.key("args")
        json.beginArray()
        return Call(
            name: name, abi: abi, signature: name.flatMap { SyscallDecoder.signature(of: $0, abi) },
            json: [UInt8(ascii: ",")] + json.bytes.dropFirst())
    }
}
