internal import CorralEvents
internal import CorralKernel
internal import Dispatch
internal import Glibc
internal import Synchronization

/// What one sandbox was refused: summed up for whoever started it, and line by line in a file that the sandbox itself can
/// read, so that a program inside learns why and what to do instead.
final class RefusalLog: Sendable {
    /// Where the file stands inside.
    static let inside = "/run/corral/denials.jsonl"
    /// The file holds no more; a last line says so.
    private static let maximumBytes = 256 << 10
    /// Different refusals in the sum; others count under the last.
    private static let maximumKinds = 64

    private struct State: Sendable {
        /// Refusals heard of, those left out of the sum included.
        var heard: UInt64 = 0
        var counts: [RefusalSummary: UInt64] = [:]
        var order: [RefusalSummary] = []
        var bytes = 0
    }

    private let path: String
    private let state = Mutex(State())
    private static let writing = DispatchQueue(label: "corral.refusals")

    /// Makes the file, empty.
    init(path: String) throws(FileError) {
        self.path = path
        try Files.write(path, [], mode: 0o644)
    }

    /// One that an earlier daemon began. `heard`: refusals that need not be waited for.
    init(continuing path: String, heard: UInt64) throws(FileError) {
        self.path = path
        let bytes = try Files.content(path).count
        state.withLock { state in
            state.bytes = bytes
            state.heard = heard
        }
    }

    /// Refusals that were heard of.
    var heard: UInt64 { state.withLock { $0.heard } }

    /// In the order in which they came first.
    var summary: [RefusalSummary] {
        state.withLock { state in
            state.order.map { refusal in
                var refusal = refusal
                refusal.count = state.counts[refusal] ?? 1
                return refusal
            }
        }
    }

    /// Does not wait for the file.
    func add(_ event: Event) {
        guard var refusal = event.refusal else { return }
        let count = refusal.count
        refusal.count = 1
        let kind = refusal
        let line: [UInt8]? = state.withLock { state in
            state.heard += 1
            if let before = state.counts[kind] {
                state.counts[kind] = before &+ count
            } else if state.order.count < Self.maximumKinds {
                state.counts[kind] = count
                state.order.append(kind)
            }
            guard state.bytes < Self.maximumBytes else { return nil }
            let line = event.jsonLine
            state.bytes += line.count
            return state.bytes < Self.maximumBytes ? line : Array("{\"truncated\":true}\n".utf8)
        }
        guard let line else { return }
        let path = path
        Self.writing.async { Self.append(line, to: path) }
    }

    func remove() {
        let path = path
        Self.writing.async { _ = unlink(path) }
    }

    /// What cannot be written is lost to the sandbox alone.
    private static func append(_ line: [UInt8], to path: String) {
        let descriptor = open(path, O_WRONLY | O_APPEND | O_CLOEXEC | O_NOFOLLOW)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        _ = line.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
    }
}
