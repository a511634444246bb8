internal import CorralArchive
@testable import CorralEngine
internal import Glibc

enum ArchiveTargets {
    private static let directory = StateTargets.scratch + "/archive"
    private static let outside = Array("untouched".utf8)
    private static let block = 512

    private final class Bytes: ByteSource {
        private var rest: ArraySlice<UInt8>

        init(_ bytes: [UInt8]) { rest = bytes[...] }

        func read(into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
            let piece = rest.prefix(buffer.count)
            buffer.copyBytes(from: piece)
            rest = rest.dropFirst(piece.count)
            return piece.count
        }
    }

    /// A tar archive, unpacked beside a file that it must not reach. First byte: odd, and the sums of headers are put right.
    static let archive: Fuzz.Target = { input in
        guard let mode = input.first else { return }
        var bytes = Array(input.dropFirst())
        if mode & 1 == 1 { putSumsRight(&bytes) }
        do {
            // Names in it need be no text.
            try Handle(directory: StateTargets.scratch).remove(FileName("archive"))
            try Files.makeDirectory(directory, mode: 0o700)
            try Files.makeDirectory(directory + "/root", mode: 0o755)
            try Files.write(directory + "/outside", outside, mode: 0o600)
        } catch {
            fatalError("broken: \(error)")
        }
        var limits = ArchiveLimits()
        limits.dataBytes = 1 << 20
        limits.entries = 100
        do {
            let options = TreeExtractor.Options(
                owner: mode & 2 == 0 ? .caller : .from(1_000_000), whiteouts: mode & 4 == 0 ? .ordinary : .marked,
                replacesDirectories: mode & 8 == 0, setsRoot: mode & 16 != 0)
            let extractor = TreeExtractor(into: try Handle(directory: directory + "/root"), options)
            try TarReader(Bytes(bytes), limits: limits).copy(to: extractor)
            try extractor.finish()
        } catch let error as ArchiveError {
            Fuzz.require(!"\(error)".isEmpty, "a refusal can be told")
        } catch {
            fatalError("broken: \(error)")
        }
        var status = stat()
        Fuzz.require(
            lstat(directory + "/outside", &status) == 0 && status.st_mode == S_IFREG | 0o600
                && status.st_uid == getuid()
                && status.st_nlink == 1 && (try? Files.content(directory + "/outside")) == outside,
            "what lies beside the tree stays as it is")
        Fuzz.require(
            (try? Files.names(in: directory))?.sorted() == ["outside", "root"], "nothing is written beside the tree")
    }

    private static func putSumsRight(_ bytes: inout [UInt8]) {
        for start in stride(from: 0, to: bytes.count - block + 1, by: block)
        where bytes[(start + 257)...].starts(with: "ustar".utf8) {
            for index in 148..<156 { bytes[start + index] = 0x20 }
            let sum = bytes[start..<start + block].reduce(0) { $0 + Int($1) }
            let digits = String(sum, radix: 8)
            let text = String(repeating: "0", count: max(0, 6 - digits.utf8.count)) + digits + "\0"
            for (index, byte) in text.utf8.enumerated() { bytes[start + 148 + index] = byte }
        }
    }
}
