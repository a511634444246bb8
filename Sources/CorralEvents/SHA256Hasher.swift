/// SHA-256 of bytes that come piece by piece.
public struct SHA256Hasher: Sendable {
    private var state = SHA256.initial
    /// Fewer than 64 bytes, which are not in `state` yet.
    private var rest: [UInt8] = []
    private var count: UInt64 = 0
    private var schedule = [UInt32](repeating: 0, count: 64)

    public init() {}

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        count &+= UInt64(bytes.count)
        var bytes = bytes
        if !rest.isEmpty {
            let taken = min(64 - rest.count, bytes.count)
            rest += bytes[..<taken]
            bytes = UnsafeRawBufferPointer(rebasing: bytes[taken...])
            guard rest.count == 64 else { return }
            let block = rest
            block.withUnsafeBytes { compress($0) }
            rest.removeAll(keepingCapacity: true)
        }
        let whole = bytes.count / 64 * 64
        compress(UnsafeRawBufferPointer(rebasing: bytes[..<whole]))
        rest += bytes[whole...]
    }

    private mutating func compress(_ blocks: UnsafeRawBufferPointer) {
        schedule.withUnsafeMutableBufferPointer { schedule in
            for start in stride(from: 0, to: blocks.count, by: 64) {
                SHA256.compress(UnsafeRawBufferPointer(rebasing: blocks[start..<start + 64]), &state, schedule)
            }
        }
    }

    /// The hash of all bytes so far.
    public func finish() -> SHA256 {
        var copy = self
        let bits = count &* 8
        var end: [UInt8] = [0x80]
        while (rest.count + end.count) % 64 != 56 { end.append(0) }
        for shift in stride(from: 56, through: 0, by: -8) { end.append(UInt8(truncatingIfNeeded: bits >> shift)) }
        end.withUnsafeBytes { copy.update($0) }
        return SHA256(words: copy.state)
    }
}
