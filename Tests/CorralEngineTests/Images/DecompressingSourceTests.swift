import CorralArchive
import CorralKernel
import Testing

@testable import CorralEngine

@Suite struct DecompressingSourceTests {
    /// "corral\n" as gzip(1), xz(1) and zstd(1) write it.
    static let gzip: [UInt8] = [
        0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x03, 0x01, 0x07, 0x00, 0xf8, 0xff, 0x63, 0x6f, 0x72,
        0x72,
        0x61, 0x6c, 0x0a,
    ]

    static func read(_ bytes: [UInt8], piece: Int = .max) throws -> [UInt8] {
        let source = try DecompressingSource(MemorySource(bytes, piece: piece))
        var all: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 100)
        while true {
            let count = try buffer.withUnsafeMutableBytes { try source.read(into: $0) }
            if count == 0 { return all }
            all += buffer[..<count]
        }
    }

    @Test func whatIsNotCompressedPasses() throws {
        for bytes in [[], [1], Array("a longer text that is plain".utf8)] as [[UInt8]] {
            for piece in [1, .max] { #expect(try Self.read(bytes, piece: piece) == bytes) }
        }
    }

    @Test func cutAndDamagedStreamsAreErrors() {
        // Its last eight bytes, checksum and length, are missing.
        #expect(throws: (any Error).self) { try Self.read(Self.gzip) }
        #expect(throws: (any Error).self) {
            try Self.read([0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xff, 0xff, 0xff, 0xff])
        }
        #expect(throws: (any Error).self) { try Self.read([0xfd, 0x37, 0x7a, 0x58, 0x5a, 0, 1, 2, 3]) }
        #expect(throws: (any Error).self) { try Self.read([0x28, 0xb5, 0x2f, 0xfd, 0x24]) }
    }

    @Test func wholeStreamsAreUndone() throws {
        // Stored, not deflated: header, one block, CRC-32 and length of "corral\n".
        let whole = Self.gzip + Self.trailer
        for piece in [1, 5, .max] {
            #expect(try Self.read(whole, piece: piece) == Array("corral\n".utf8))
            // One member after the other, and zeros that fill up a block.
            let two = whole + whole + [UInt8](repeating: 0, count: 100)
            #expect(try Self.read(two, piece: piece) == Array("corral\ncorral\n".utf8))
        }
        var wrong = whole
        wrong[whole.count - 8] ^= 1
        #expect(throws: (any Error).self) { try Self.read(wrong) }
    }

    private static var trailer: [UInt8] {
        var crc: UInt32 = 0xffff_ffff
        for byte in "corral\n".utf8 {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc >> 1 ^ (crc & 1 == 1 ? 0xedb8_8320 : 0) }
        }
        crc = ~crc
        return (0..<4).map { UInt8(truncatingIfNeeded: crc >> (8 * $0)) } + [7, 0, 0, 0]
    }
}
