internal import CLinux
internal import Glibc

/// The hooks of the BPF LSM: one set for the whole host, which judges what processes of this instance's sandboxes ask of the
/// kernel beside the network. Pinned, so that they outlast the daemon.
///
/// Where `bpf` is missing from the kernel's list of active LSMs, such programs load and attach and never run. So nothing is
/// believed but a denial that was asked for.
public final class LsmHooks: Sendable {
    /// Nil: absent.
    private let loaded: Loaded?
    /// Why they are absent; nil where they enforce.
    public let reason: String?

    private struct Loaded: Sendable {
        let object: BpfObject
        /// A command of bpf(2) that no kernel has and these programs refuse.
        let proofCommand: UInt32
    }

    /// Loads, attaches, proves and pins them, each before the one goes that an earlier daemon has left in its place. Where that
    /// cannot be done the earlier ones go too, so that what is said of them is true.
    public init(programs: BpfPrograms) {
        let directory = "\(programs.directory)/\(PinDirectory.lsm)"
        do throws(KernelError) {
            if let list = Self.activeList, !list.contains("bpf") {
                throw KernelError(
                    call: "LSM", subject: list.joined(separator: ","), errno: ENOTSUP,
                    detail: "bpf is not among the kernel's active LSMs")
            }
            loaded = try Self.load(programs, pins: directory)
            reason = nil
        } catch {
            LsmLinks.remove(from: directory)
            loaded = nil
            reason = error.detail ?? "\(error)"
        }
    }

    var object: BpfObject? { loaded?.object }

    /// Asks for the denial once more.
    public var isEnforced: Bool { loaded.map { Self.answer(to: $0.proofCommand) == EPERM } ?? false }

    /// The kernel's, in the order in which it asks them; nil where it cannot be read.
    public static var activeList: [String]? {
        guard let text = try? CgroupFile.read("/sys/kernel/security/lsm") else { return nil }
        return text.split { $0 == "," || $0 == "\n" }.map(String.init)
    }

    private static func load(_ programs: BpfPrograms, pins directory: String) throws(KernelError) -> Loaded {
        let loaded = Loaded(
            object: try BpfObject(name: "lsm", corral_embedded_lsm),
            proofCommand: UInt32.random(in: 0x8000_0000...UInt32.max))
        try loaded.object.set(constant: loaded.proofCommand)
        try programs.share(with: loaded.object)
        try loaded.object.load()
        guard answer(to: loaded.proofCommand) == EINVAL else {
            throw KernelError(call: "bpf", subject: "a command that does not exist", errno: errno)
        }
        let links = try LsmLinks(loaded.object)
        guard answer(to: loaded.proofCommand) == EPERM else {
            throw KernelError(
                call: "LSM", subject: "lsm", errno: ENOTSUP,
                detail: "LSM programs can be attached and do not run: bpf is not among the kernel's active LSMs")
        }
        try links.pin(in: directory)
        return loaded
    }

    private static func answer(to command: UInt32) -> Int32 { corral_bpf_command(command) }
}
