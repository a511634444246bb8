internal import Glibc

/// Where a command's output goes on the caller's side, written so that signals never wait behind a full pipe.
final class AttachOutput {
    /// What poll(2) calling a pipe writable promises (PIPE_BUF): more could block.
    private static let safeWrite = 4096
    /// More at once than this is a stream that a larger pipe makes faster.
    private static let largeWrite = 64 << 10
    private static let setPipeSize: Int32 = 1031  // F_SETPIPE_SZ

    /// To poll and to write to.
    let descriptor: Int32
    private let isOurs: Bool
    private let mayBlock: Bool
    private var isEnlarged = false

    init(_ descriptor: Int32) {
        var status = stat()
        let type = fstat(descriptor, &status) == 0 ? status.st_mode & S_IFMT : 0
        // O_NONBLOCK belongs to the open file, which other processes share; the same pipe opened again is ours alone.
        let own = type == S_IFIFO ? open("/proc/self/fd/\(descriptor)", O_WRONLY | O_NONBLOCK | O_CLOEXEC) : -1
        isOurs = own >= 0
        self.descriptor = own >= 0 ? own : descriptor
        // A write to a regular file waits for no reader.
        mayBlock = own < 0 && type != S_IFREG
        isEnlarged = type != S_IFIFO
    }

    deinit {
        if isOurs { close(descriptor) }
    }

    /// As write(2), of as much as does not block.
    func write(_ bytes: ArraySlice<UInt8>) -> Int {
        if !isEnlarged, bytes.count >= Self.largeWrite {
            isEnlarged = true
            _ = fcntl(descriptor, Self.setPipeSize, 1 << 20)
        }
        let piece = mayBlock ? bytes.prefix(Self.safeWrite) : bytes
        return piece.withUnsafeBytes { Glibc.write(descriptor, $0.baseAddress, $0.count) }
    }
}

/// Looks for ^P ^Q in what is typed.
struct DetachKeys {
    private static let first: UInt8 = 0x10
    private static let second: UInt8 = 0x11

    private var isHalf = false
    /// Nothing that is typed after it counts.
    private(set) var isComplete = false

    /// What the command is to get of it. A ^P waits for the next key.
    mutating func pass(_ bytes: ArraySlice<UInt8>) -> [UInt8] {
        var result: [UInt8] = []
        for byte in bytes where !isComplete {
            if isHalf, byte == Self.second {
                isComplete = true
            } else {
                if isHalf { result.append(Self.first) }
                isHalf = byte == Self.first
                if !isHalf { result.append(byte) }
            }
        }
        return result
    }
}
