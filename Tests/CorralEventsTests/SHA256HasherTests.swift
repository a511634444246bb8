import CorralEvents
import Testing

@Suite struct SHA256HasherTests {
    @Test func piecesOfAnySizeHashAsTheWhole() {
        for count in [0, 1, 55, 56, 63, 64, 65, 119, 128, 1000] {
            let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
            for piece in [1, 3, 63, 64, 65, 1000] {
                var hasher = SHA256Hasher()
                for start in stride(from: 0, to: count, by: piece) {
                    Array(bytes[start..<min(count, start + piece)]).withUnsafeBytes { hasher.update($0) }
                }
                #expect(hasher.finish() == SHA256(of: bytes), "\(count) in pieces of \(piece)")
            }
        }
    }
}
