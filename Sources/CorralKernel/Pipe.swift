internal import Glibc

/// Reading and writing a command's pipes, or its terminal's master, without ever blocking the caller's thread.
public enum Pipe {
    /// Bytes that any pipe may hold without a privilege (/proc/sys/fs/pipe-max-size, as the kernel sets it).
    public static let largestCapacity = 1 << 20
    private static let setSize: Int32 = 1031  // F_SETPIPE_SZ

    public enum ReadResult: Sendable {
        case bytes([UInt8])
        case wouldBlock
        case end
    }

    public static func makeNonBlocking(_ descriptor: SharedDescriptor) throws(KernelError) {
        let flags = try systemCall("fcntl(F_GETFL)") { fcntl(descriptor.raw, F_GETFL) }
        try systemCall("fcntl(F_SETFL)") { fcntl(descriptor.raw, F_SETFL, flags | O_NONBLOCK) }
    }

    /// Makes a pipe hold `largestCapacity`. It stays as it is where the kernel grants no more.
    public static func enlarge(_ descriptor: SharedDescriptor) {
        _ = fcntl(descriptor.raw, setSize, Int32(largestCapacity))
    }

    /// At most `capacity` bytes, in an array that is not much larger than they are. The end of a terminal's master is that
    /// nobody has its other side open any more.
    public static func read(_ descriptor: SharedDescriptor, capacity: Int) throws(KernelError) -> ReadResult {
        var failure: Int32 = 0
        let bytes = [UInt8](unsafeUninitializedCapacity: capacity) { buffer, count in
            var result: Int
            repeat {
                result = Glibc.read(descriptor.raw, buffer.baseAddress, capacity)
            } while result < 0 && errno == EINTR
            failure = result < 0 ? errno : 0
            count = max(result, 0)
        }
        if failure == EAGAIN { return .wouldBlock }
        if failure == EIO { return .end }
        guard failure == 0 else { throw KernelError(call: "read", subject: "pipe", errno: failure) }
        if bytes.isEmpty { return .end }
        return .bytes(bytes.count < capacity / 2 ? bytes.withUnsafeBufferPointer { Array($0) } : bytes)
    }

    /// A new size of the terminal; what runs in its foreground gets SIGWINCH.
    public static func resize(_ master: SharedDescriptor, rows: UInt16, columns: UInt16) throws(KernelError) {
        var size = winsize(ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0)
        try systemCall("ioctl(TIOCSWINSZ)", on: "terminal") { ioctl(master.raw, UInt(TIOCSWINSZ), &size) }
    }

    /// How many bytes went in; 0 when the pipe is full.
    public static func write(_ descriptor: SharedDescriptor, _ bytes: ArraySlice<UInt8>) throws(KernelError) -> Int {
        do {
            return try systemCall("write", on: "pipe") {
                bytes.withUnsafeBytes { Glibc.write(descriptor.raw, $0.baseAddress, $0.count) }
            }
        } catch let error where error.errno == EAGAIN {
            return 0
        }
    }
}
