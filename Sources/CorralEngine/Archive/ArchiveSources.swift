internal import CorralArchive
internal import CorralEvents
internal import CorralKernel

/// Passes bytes on and hashes them.
final class HashingSource: ByteSource {
    private let source: any ByteSource
    private var hasher = SHA256Hasher()
    private(set) var count: UInt64 = 0

    init(_ source: any ByteSource) {
        self.source = source
    }

    func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        let read = try source.read(into: buffer)
        hasher.update(UnsafeRawBufferPointer(rebasing: buffer[..<read]))
        count += UInt64(read)
        return read
    }

    /// Reads what is left: a digest covers all.
    func drain() throws {
        var rest = [UInt8](repeating: 0, count: 64 << 10)
        while try rest.withUnsafeMutableBytes({ try read(into: $0) }) > 0 {}
    }

    var digest: Digest { Digest(hasher.finish()) }
}

/// Hashes and counts bytes that go nowhere.
final class DigestCounter {
    private var hasher = SHA256Hasher()
    private(set) var count: UInt64 = 0

    func add(_ bytes: UnsafeRawBufferPointer) {
        hasher.update(bytes)
        count += UInt64(bytes.count)
    }

    var digest: Digest { Digest(hasher.finish()) }
}

/// `sha256:` and 64 hexadecimal digits.
struct Digest: Hashable, Sendable, CustomStringConvertible {
    let hash: SHA256

    init(_ hash: SHA256) {
        self.hash = hash
    }

    /// Nil for another algorithm, and for anything that is no digest.
    init?(_ text: String) {
        guard text.hasPrefix("sha256:"), let hash = SHA256(String(text.dropFirst(7))) else { return nil }
        self.hash = hash
    }

    /// As the name of a file.
    var hexadecimal: String { hash.description }
    var description: String { "sha256:\(hash)" }
}

/// Undoes whatever compression the first bytes show: gzip, xz, zstd or none.
final class DecompressingSource: ByteSource {
    private let source: any ByteSource
    private var buffer = [UInt8](repeating: 0, count: 128 << 10)
    private var position = 0
    private var filled = 0
    private var sourceEnded = false
    private var decompressor: Decompressor?
    private var isComplete = false

    /// Reads the first bytes.
    init(_ source: any ByteSource) throws {
        self.source = source
        while filled < 6, !sourceEnded { try fill() }
        if let format = Decompressor.Format(signature: buffer[..<filled]) { decompressor = try Decompressor(format) }
    }

    private func fill() throws {
        if position == filled { (position, filled) = (0, 0) }
        let start = filled
        let count = try buffer.withUnsafeMutableBytes { bytes in
            try source.read(into: UnsafeMutableRawBufferPointer(rebasing: bytes[start...]))
        }
        filled += count
        sourceEnded = count == 0
    }

    func read(into target: UnsafeMutableRawBufferPointer) throws -> Int {
        guard !target.isEmpty else { return 0 }
        guard let decompressor else {
            if position == filled, !sourceEnded { try fill() }
            let count = min(target.count, filled - position)
            buffer.withUnsafeBytes {
                target.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[position..<position + count]))
            }
            position += count
            return count
        }
        while true {
            if position == filled, !sourceEnded { try fill() }
            // Asked once more, a decoder would begin another stream.
            if position == filled, sourceEnded, isComplete { return 0 }
            let step = try buffer.withUnsafeBytes { bytes in
                try decompressor.run(
                    UnsafeRawBufferPointer(rebasing: bytes[position..<filled]), into: target, isLast: sourceEnded)
            }
            position += step.taken
            isComplete = step.isComplete
            if step.given > 0 { return step.given }
            if position == filled, sourceEnded {
                guard isComplete else { throw ArchiveError(.malformed, "the compressed data is cut off") }
                return 0
            }
            // A decoder that takes nothing and gives nothing will not get further.
            guard step.taken > 0 || position == filled else {
                throw ArchiveError(.malformed, "the compressed data is damaged")
            }
        }
    }
}
