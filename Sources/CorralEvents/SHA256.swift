internal import Crypto

/// A SHA-256 hash.
public struct SHA256: Sendable, Hashable {
    /// 32 of them.
    private var bytes: [UInt8]

    /// 32 bytes of zero: what the first record of a journal cites.
    public static let zero = SHA256(bytes: [UInt8](repeating: 0, count: 32))

    private init(bytes: [UInt8]) {
        self.bytes = bytes
    }

    init(_ digest: Crypto.SHA256.Digest) {
        self.init(bytes: Array(digest))
    }

    /// The hash of `message`.
    public init(of message: some Collection<UInt8>) {
        let hash: (UnsafeRawBufferPointer) -> SHA256 = { bytes in
            var hasher = SHA256Hasher()
            hasher.update(bytes)
            return hasher.finish()
        }
        self =
            message.withContiguousStorageIfAvailable { hash(UnsafeRawBufferPointer($0)) }
            ?? Array(message).withUnsafeBytes(hash)
    }
}

/// SHA-256 of bytes that come piece by piece.
public struct SHA256Hasher: Sendable {
    private var state = Crypto.SHA256()

    public init() {}

    public mutating func update(_ bytes: UnsafeRawBufferPointer) {
        state.update(bufferPointer: bytes)
    }

    /// The hash of all bytes so far.
    public func finish() -> SHA256 { SHA256(state.finalize()) }
}

extension SHA256: LosslessStringConvertible {
    /// Digits of the text.
    static let digits = 64

    /// From 64 hexadecimal digits in lower case.
    public init?(_ description: String) {
        self.init(hexadecimal: Array(description.utf8))
    }

    init?(hexadecimal text: some Collection<UInt8>) {
        guard text.count == Self.digits else { return nil }
        var bytes = [UInt8](repeating: 0, count: Self.digits / 2)
        for (index, character) in text.enumerated() {
            let digit: UInt8
            switch character {
            case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = character &- UInt8(ascii: "0")
            case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = character &- UInt8(ascii: "a") &+ 10
            default: return nil
            }
            bytes[index / 2] = bytes[index / 2] << 4 | digit
        }
        self.bytes = bytes
    }

    func append(to text: inout [UInt8]) {
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                text.append(digit < 10 ? UInt8(ascii: "0") + digit : UInt8(ascii: "a") + digit - 10)
            }
        }
    }

    /// 64 hexadecimal digits in lower case.
    public var description: String {
        var bytes: [UInt8] = []
        append(to: &bytes)
        return String(decoding: bytes, as: UTF8.self)
    }
}
