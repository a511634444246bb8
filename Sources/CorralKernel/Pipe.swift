internal import Glibc

/// Reading and writing a command's pipes without ever blocking the caller's thread.
public enum Pipe {
    public enum ReadResult: Sendable {
        case bytes([UInt8])
        case wouldBlock
        case end
    }

    public static func makeNonBlocking(_ descriptor: SharedDescriptor) throws(KernelError) {
        let flags = try systemCall("fcntl(F_GETFL)") { fcntl(descriptor.raw, F_GETFL) }
        try systemCall("fcntl(F_SETFL)") { fcntl(descriptor.raw, F_SETFL, flags | O_NONBLOCK) }
    }

    /// At most `capacity` bytes.
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
        guard failure == 0 else { throw KernelError(call: "read", subject: "pipe", errno: failure) }
        return bytes.isEmpty ? .end : .bytes(bytes)
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
