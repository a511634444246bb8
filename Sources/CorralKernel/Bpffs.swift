internal import CLinux
internal import Glibc

/// The file system that BPF objects are pinned in.
public enum Bpffs {
    /// Mounts it at `path` unless it is there, for root alone. The directory is made if its parent exists.
    public static func ensureMounted(at path: String = "/sys/fs/bpf") throws(KernelError) {
        if isMounted(at: path) { return }
        // Others may begin at the same moment: a second mount would hide what they pin.
        let above = path.lastIndex(of: "/").map { path[..<$0] } ?? "."
        let parent = try FileDescriptor.open("\(above)/", O_RDONLY)
        let raw = parent.raw
        try systemCall("flock", on: path) { flock(raw, LOCK_EX) }
        if isMounted(at: path) { return }
        if mkdir(path, 0o700) < 0, errno != EEXIST {
            throw KernelError(call: "mkdir", subject: path, errno: errno)
        }
        try systemCall("mount(bpf)", on: path) { corral_mount_bpffs(path) }
    }

    public static func isMounted(at path: String) -> Bool {
        corral_file_system_type(path) == UInt64(BPF_FS_MAGIC)
    }
}
