internal import CLinux
internal import CorralABI
internal import Glibc

/// How a map is laid out.
struct MapLayout: Equatable {
    var type: UInt32
    var keySize: Int
    var valueSize: Int
    var maxEntries: Int
    var flags: UInt32

    init(wanted map: OpaquePointer) {
        var layout = corral_map_layout()
        corral_map_wanted(map, &layout)
        self.init(layout)
    }

    /// Of a map in the kernel.
    init(found map: Int32) throws(KernelError) {
        var layout = corral_map_layout()
        guard corral_map_found(map, &layout) == 0 else {
            throw KernelError(call: "BPF_OBJ_GET_INFO_BY_FD", subject: "map", errno: errno)
        }
        self.init(layout)
    }

    private init(_ layout: corral_map_layout) {
        type = layout.type
        keySize = Int(layout.key_size)
        valueSize = Int(layout.value_size)
        maxEntries = Int(layout.max_entries)
        flags = layout.flags
    }

    /// Why what a map of the layout `found` holds cannot be carried over into the map `name` of this one by copying; nil: it can.
    /// Values may have grown at their end, and tables in size.
    func refusal(of found: MapLayout, named name: String) -> String? {
        if ["counters", "policies", "path_rules"].contains(name) {
            return "its layout has changed, and it cannot be carried over"
        }
        if found.type != type { return "it is a map of type \(found.type), here \(type)" }
        if found.flags != flags { return "it has the flags \(found.flags), here \(flags)" }
        if found.keySize != keySize { return "it has keys of \(found.keySize) bytes, here \(keySize)" }
        if found.valueSize > valueSize { return "it has values of \(found.valueSize) bytes, here \(valueSize)" }
        if found.maxEntries > maxEntries { return "it has room for \(found.maxEntries) entries, here \(maxEntries)" }
        return nil
    }
}

/// A map of an earlier daemon whose successor is laid out in another way. Programs of that daemon go on with it until the last hook
/// is renewed.
struct MapMigration: Sendable {
    let name: String
    let found: SharedDescriptor
    let layout: MapLayout

    /// Entries of these are made by programs, so that some are made while hooks are renewed.
    private static let growing = ["flows", "asked", "announced"]

    /// Before any hook is renewed: what the daemon alone writes, and what programs have found out so far.
    func carry(to map: Int32) throws(KernelError) {
        switch layout.type {
        // Records that nobody has read are read out at the end; what a rate has left begins anew.
        case BPF_MAP_TYPE_RINGBUF.rawValue: return
        case _ where name == "buckets": return
        default: try copy(to: map, flags: UInt64(BPF_ANY))
        }
    }

    /// Once no program uses it any more.
    func catchUp(to map: Int32) throws(KernelError) {
        if Self.growing.contains(name) { try copy(to: map, flags: UInt64(BPF_NOEXIST)) }
    }

    /// Entries that there is no room for are left out: only tables that forget by themselves are that full.
    private func copy(to map: Int32, flags: UInt64) throws(KernelError) {
        let wanted = try MapLayout(found: map)
        // Values of one entry on each processor are each filled up to eight bytes.
        let isPerCPU = layout.type == BPF_MAP_TYPE_PERCPU_ARRAY.rawValue
        let processors = isPerCPU ? Int(libbpf_num_possible_cpus()) : 1
        let (before, after) = (
            isPerCPU ? (layout.valueSize + 7) & ~7 : layout.valueSize,
            isPerCPU ? (wanted.valueSize + 7) & ~7 : wanted.valueSize
        )
        var walk = MapWalk(found.raw, keySize: layout.keySize, limit: 2 * layout.maxEntries)
        var value = [UInt8](repeating: 0, count: before * processors)
        var grown = [UInt8](repeating: 0, count: after * processors)
        while walk.advance() {
            guard walk.read(into: &value) else { continue }
            let place = place(of: walk.key, in: wanted)
            for processor in 0..<processors {
                grown.replaceSubrange(
                    processor * after..<processor * after + before,
                    with: value[processor * before..<(processor + 1) * before])
            }
            let result = place.withUnsafeBytes { key in
                grown.withUnsafeBytes { bpf_map_update_elem(map, key.baseAddress, $0.baseAddress, flags) }
            }
            guard result == 0 || [EEXIST, E2BIG, ENOMEM].contains(errno) else { throw KernelError.update(of: name) }
        }
    }

    /// The last entry of `verdicts` counts what is charged to no sandbox, however many reasons there are.
    private func place(of key: [UInt8], in wanted: MapLayout) -> [UInt8] {
        guard name == "verdicts", key.elementsEqual(Self.index(layout.maxEntries - 1)) else { return key }
        return Self.index(wanted.maxEntries - 1)
    }

    private static func index(_ number: Int) -> [UInt8] {
        var key: [UInt8] = []
        key.appendWord(UInt32(number))
        return key
    }
}
