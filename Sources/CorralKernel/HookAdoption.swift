internal import CLinux
internal import CorralABI
internal import Glibc

extension SandboxHooks {
    /// The sandboxes whose hooks an earlier daemon has pinned.
    public func pinnedSandboxes() -> [String] {
        PinDirectory.entries(of: programs.directory + "/sandboxes").sorted()
    }

    /// Puts this load's programs in the place of earlier ones on a sandbox's hooks, each in one step. Throws ENOENT when a hook
    /// is not there: then the sandbox is not to be trusted.
    public func renew(name: String, ifindex: UInt32) throws(KernelError) {
        for hook in BpfPrograms.cgroupHooks {
            try renew(try programs.cgroupProgram(hook.name), at: "\(pins(of: name))/\(hook.name)")
        }
        for (program, ingress) in Self.vethHooks {
            let raw = try programs.vethProgram(program)
            var before: UInt32 = 0
            guard corral_clsact_attached(ifindex, ingress, &before) == 0,
                corral_clsact_attach(raw, ifindex, ingress, 1) == 0
            else { throw KernelError(call: "bpf_tc_attach", subject: "\(program) of \(name)", errno: errno) }
            crashPoint("adopt.veth-update")
        }
    }

    /// The same for a cgroup that Corral did not make.
    public func renew(_ cgroup: ForeignCgroup, pins: String) throws(KernelError) {
        for hook in BpfPrograms.cgroupHooks {
            try renew(try programs.cgroupProgram(hook.name), at: "\(pins)/\(hook.name)")
        }
        for hook in BpfPrograms.foreignCgroupHooks {
            try renew(try programs.foreignCgroupProgram(hook.name), at: "\(pins)/\(hook.name)")
        }
    }

    private func renew(_ program: Int32, at path: String) throws(KernelError) {
        let raw = bpf_obj_get(path)
        guard raw >= 0 else { throw KernelError(call: "bpf_obj_get", subject: path, errno: errno) }
        let link = FileDescriptor(owning: raw)
        guard bpf_link_update(link.raw, program, nil) == 0 else {
            throw KernelError(call: "BPF_LINK_UPDATE", subject: path, errno: errno)
        }
        crashPoint("adopt.link-update")
    }

    /// A slot that the maps know.
    public struct Occupant: Sendable, Equatable {
        public var slot: UInt32
        public var epoch: UInt64
        /// 0: of a cgroup that Corral did not make.
        public var ifindex: UInt32
        /// Its hooks had not shown yet that they refuse.
        public var isUnproven: Bool { epoch & SandboxIdentity.unprovenBit != 0 }
    }

    /// All of them.
    public func occupants() throws(KernelError) -> [Occupant] {
        let size = MemoryLayout<corral_sandbox>.size
        var found: [Occupant] = []
        var keys = [UInt32](repeating: 0, count: Int(CORRAL_MAX_SLOTS))
        var values = [UInt8](repeating: 0, count: keys.count * size)
        var (count, token) = (UInt32(keys.count), UInt32(0))
        let result = values.withUnsafeMutableBytes { values in
            keys.withUnsafeMutableBytes {
                bpf_map_lookup_batch(sandboxes, nil, &token, $0.baseAddress, values.baseAddress, &count, nil)
            }
        }
        // ENOENT: that was the last of them.
        guard result == 0 || errno == ENOENT else {
            throw KernelError(call: "bpf_map_lookup_batch", subject: "sandboxes", errno: errno)
        }
        for index in 0..<min(Int(count), keys.count) {
            guard let (epoch, ifindex) = Self.occupant(values[(index * size)..<((index + 1) * size)]) else { continue }
            found.append(Occupant(slot: keys[index], epoch: epoch, ifindex: ifindex))
        }
        return found
    }

    /// What struct corral_sandbox says; nil for an empty slot.
    private static func occupant(_ value: some RandomAccessCollection<UInt8>) -> (epoch: UInt64, ifindex: UInt32)? {
        // epoch, ipv4, ipv6, both MACs, ifindex: 8, 4, 16, 12, 4 bytes.
        let (epoch, ifindex) = Array(value).withUnsafeBytes {
            ($0.loadUnaligned(as: UInt64.self), $0.loadUnaligned(fromByteOffset: 40, as: UInt32.self))
        }
        return epoch == 0 ? nil : (epoch, ifindex)
    }

    /// Takes everything out of the maps that is of no slot in `kept`, by epoch. No hook may serve those any more.
    public func sweep(keeping kept: [UInt32: UInt64]) throws(KernelError) {
        let gone = try occupants().filter { kept[$0.slot] != $0.epoch }.map(\.slot)
        for slot in gone { vacate(slot) }
        crashPoint("sweep.slots")
        removePolicies(of: gone)
        crashPoint("sweep.policies")
        for map in ["slot_by_cgroup", "slot_by_ifindex"] {
            try removeEntries(of: map, keySize: map == "slot_by_cgroup" ? 8 : 4, valueSize: 4) { _, value in
                kept[value.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }] == nil
            }
        }
        let sizes = [
            ("pins", MemoryLayout<corral_pin_key>.size), ("published", MemoryLayout<corral_port_key>.size),
            ("cgroup_resolver", MemoryLayout<corral_cgroup_resolver_key>.size),
            ("resolver_ports", MemoryLayout<corral_port_key>.size),
        ]
        for (map, size) in sizes {
            try removeEntries(of: map, keySize: size, valueSize: 0) { key, _ in
                let (slot, epoch) = key.withUnsafeBytes {
                    ($0.loadUnaligned(as: UInt32.self), $0.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
                }
                return kept[slot].map { UInt32(truncatingIfNeeded: $0) } != epoch
            }
        }
    }

    /// - Parameter valueSize: 0 when the value is not needed.
    private func removeEntries(
        of map: String, keySize: Int, valueSize: Int, where isUnwanted: ([UInt8], [UInt8]) -> Bool
    ) throws(KernelError) {
        let descriptor = try programs.map(map)
        // Of these maps `pins` holds most.
        var walk = MapWalk(descriptor, keySize: keySize, limit: 2 * Int(CORRAL_MAX_PINS))
        var value = [UInt8](repeating: 0, count: valueSize)
        var unwanted: [[UInt8]] = []
        while walk.advance() {
            if valueSize > 0, !walk.read(into: &value) { continue }
            if isUnwanted(walk.key, value) { unwanted.append(walk.key) }
        }
        for key in unwanted { remove(map, key) }
        crashPoint("sweep.entries")
    }

    /// What the maps say of a slot; nil for an empty one.
    public func occupant(of slot: UInt32) throws(KernelError) -> (epoch: UInt64, ifindex: UInt32)? {
        var key = slot
        var value = [UInt8](repeating: 0, count: MemoryLayout<corral_sandbox>.size)
        let result = value.withUnsafeMutableBytes { bpf_map_lookup_elem(sandboxes, &key, $0.baseAddress) }
        guard result == 0 else {
            throw KernelError(call: "bpf_map_lookup_elem", subject: "sandboxes[\(slot)]", errno: errno)
        }
        return Self.occupant(value)
    }

    /// The policy that is in force for a slot. `namePorts` are those of the policy that it was compiled from. Throws ENOENT when
    /// there is none.
    public func policy(of slot: UInt32, namePorts: [Int: Int]) throws(KernelError) -> PolicyMap {
        var key = slot
        var number: UInt32 = 0
        guard bpf_map_lookup_elem(policies, &key, &number) == 0 else {
            throw KernelError(call: "bpf_map_lookup_elem", subject: "policies[\(slot)]", errno: errno)
        }
        let raw = bpf_map_get_fd_by_id(number)
        guard raw >= 0 else { throw KernelError(call: "BPF_MAP_GET_FD_BY_ID", subject: "\(number)", errno: errno) }
        return try PolicyMap(adopting: FileDescriptor(owning: raw), namePorts: namePorts)
    }
}
