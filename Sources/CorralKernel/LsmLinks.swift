internal import CLinux
internal import Glibc

/// The programs of one object on the LSM hooks that they are for.
struct LsmLinks {
    private let links: [(name: String, link: SharedDescriptor)]

    /// Attaches all of them; they go when this goes, unless they are pinned.
    init(_ object: BpfObject) throws(KernelError) {
        var links: [(name: String, link: SharedDescriptor)] = []
        for name in object.programNames {
            let raw = bpf_raw_tracepoint_open(nil, try object.program(name))
            guard raw >= 0 else {
                throw KernelError(call: "bpf_raw_tracepoint_open", subject: "lsm/\(name)", errno: errno)
            }
            links.append((name, SharedDescriptor(FileDescriptor(owning: raw))))
        }
        self.links = links
    }

    /// In the place of those that an earlier daemon has pinned there, each before that one goes.
    func pin(in directory: String) throws(KernelError) {
        try makeDirectory(directory)
        let earlier = Set(PinDirectory.entries(of: directory))
        for (name, link) in links {
            let path = "\(directory)/\(name)"
            _ = unlink("\(path)+")
            guard bpf_obj_pin(link.raw, "\(path)+") == 0 else {
                throw KernelError(call: "BPF_OBJ_PIN", subject: "\(path)+", errno: errno)
            }
            try systemCall("rename", on: path) { rename("\(path)+", path) }
        }
        for name in earlier.subtracting(links.map(\.name)) { _ = unlink("\(directory)/\(name)") }
    }

    static func remove(from directory: String) {
        for name in PinDirectory.entries(of: directory) { _ = unlink("\(directory)/\(name)") }
        _ = rmdir(directory)
    }
}
