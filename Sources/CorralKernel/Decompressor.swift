internal import CLinux
internal import Glibc

/// Undoes gzip, xz or zstd, piece by piece, in bounded memory.
public final class Decompressor {
    public enum Format: Sendable {
        case gzip
        case xz
        case zstd

        /// From the first bytes of a file; nil for another kind of file. Six bytes are enough.
        public init?(signature: some Collection<UInt8>) {
            if signature.starts(with: [0x1f, 0x8b]) {
                self = .gzip
            } else if signature.starts(with: [0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00]) {
                self = .xz
            } else if signature.starts(with: [0x28, 0xb5, 0x2f, 0xfd]) {
                self = .zstd
            } else {
                return nil
            }
        }
    }

    public struct Step: Sendable, Equatable {
        /// Bytes of the input that were used, and of the output that were filled.
        public var taken: Int
        public var given: Int
        /// The stream is complete here, though another may follow.
        public var isComplete: Bool
    }

    private let decoder: OpaquePointer

    public init(_ format: Format) throws(KernelError) {
        let number =
            switch format {
            case .gzip: CORRAL_GZIP
            case .xz: CORRAL_XZ
            case .zstd: CORRAL_ZSTD
            }
        guard let decoder = corral_decoder_open(number) else {
            throw KernelError(call: "decompress", errno: errno)
        }
        self.decoder = decoder
    }

    deinit { corral_decoder_close(decoder) }

    /// Throws EILSEQ for damaged data, ENOMEM for a stream that asks for more than 256 MiB.
    /// - Parameter isLast: nothing follows `input`.
    public func run(
        _ input: UnsafeRawBufferPointer, into output: UnsafeMutableRawBufferPointer, isLast: Bool
    ) throws(KernelError) -> Step {
        var (taken, given) = (input.count, output.count)
        let result = corral_decoder_run(decoder, input.baseAddress, &taken, output.baseAddress, &given, isLast)
        guard result >= 0 else {
            throw KernelError(call: "decompress", errno: errno, detail: "the compressed data is damaged")
        }
        return Step(taken: taken, given: given, isComplete: result == 1)
    }
}
