internal import CLinux
internal import Glibc
internal import Synchronization

/// The hooks of the BPF LSM that judge paths. Every open file of the host passes them, so that they are put on when a policy speaks of
/// paths for the first time, and stay then.
public final class PathHooks: Sendable {
    private let programs: BpfPrograms
    private let lsm: LsmHooks
    private let loaded = Mutex<BpfObject?>(nil)
    /// Why those of an earlier daemon, which are needed, were not replaced; nil otherwise. They go on.
    public let failure: KernelError?

    /// Puts them on where an earlier daemon has left policies that need them; where none does, that one's go.
    public init(programs: BpfPrograms, lsm: LsmHooks) {
        self.programs = programs
        self.lsm = lsm
        do throws(KernelError) {
            if try PathRuleMap.numbers(in: programs.map("path_rules")).isEmpty {
                LsmLinks.remove(from: "\(programs.directory)/\(PinDirectory.files)")
            } else {
                try Self.put(on: programs, loaded)
            }
            failure = nil
        } catch {
            failure = error
        }
    }

    /// Before a policy with rules on paths comes into force. Throws ENOTSUP, with the reason, where they cannot be enforced.
    public func require() throws(KernelError) {
        guard lsm.isEnforced else {
            throw KernelError(
                call: "LSM", subject: "paths", errno: ENOTSUP,
                detail: "lsm: absent; \(lsm.reason ?? "the hooks were taken off since corrald began")")
        }
        try Self.put(on: programs, loaded)
    }

    var object: BpfObject? { loaded.withLock { $0 } }

    private static func put(
        on programs: BpfPrograms, _ loaded: borrowing Mutex<BpfObject?>
    ) throws(KernelError) {
        try loaded.withLock { known throws(KernelError) in
            guard known == nil else { return }
            let object = try BpfObject(name: "files", corral_embedded_files)
            try programs.share(with: object)
            try object.load()
            try LsmLinks(object).pin(in: "\(programs.directory)/\(PinDirectory.files)")
            known = object
        }
    }
}
