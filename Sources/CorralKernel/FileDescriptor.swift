internal import Glibc

/// Owns one open file descriptor and closes it.
public struct FileDescriptor: ~Copyable, Sendable {
    /// Valid while this value lives.
    package let raw: Int32

    /// Takes ownership of an open descriptor.
    package init(owning raw: Int32) {
        self.raw = raw
    }

    deinit {
        // Not retried on EINTR: Linux has freed the number by then.
        _ = close(raw)
    }

    /// Gives up ownership; the caller closes it.
    package consuming func release() -> Int32 {
        let raw = raw
        discard self
        return raw
    }

    /// Another descriptor of the same open file, close-on-exec.
    public borrowing func duplicate() throws(KernelError) -> FileDescriptor {
        let raw = raw
        return FileDescriptor(owning: try systemCall("fcntl(F_DUPFD_CLOEXEC)") { fcntl(raw, F_DUPFD_CLOEXEC, 3) })
    }

    /// Opens with O_CLOEXEC added.
    package static func open(_ path: String, _ flags: Int32, mode: UInt32 = 0) throws(KernelError) -> FileDescriptor {
        FileDescriptor(
            owning: try systemCall("open", on: path) { Glibc.open(path, flags | O_CLOEXEC, mode) }
        )
    }
}

/// A descriptor that several owners share; closed with the last of them.
public final class SharedDescriptor: Sendable {
    private let descriptor: FileDescriptor

    public init(_ descriptor: consuming FileDescriptor) {
        self.descriptor = descriptor
    }

    /// Another descriptor of the same open file, close-on-exec.
    func duplicate() throws(KernelError) -> FileDescriptor { try descriptor.duplicate() }

    /// Valid while this object lives.
    package var raw: Int32 { descriptor.raw }
}
