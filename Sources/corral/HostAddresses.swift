internal import CorralPolicy
internal import Glibc

/// The addresses of this host's interfaces.
enum HostAddresses {
    /// Each as a full-length prefix; none when the kernel does not say.
    static func now() -> [IPPrefix] {
        var list: UnsafeMutablePointer<ifaddrs>?
        guard getifaddrs(&list) == 0 else { return [] }
        defer { freeifaddrs(list) }
        var prefixes: [IPPrefix] = []
        var next = list
        while let interface = next {
            if let address = interface.pointee.ifa_addr.flatMap(address) {
                prefixes.append(IPPrefix(address, length: 128))
            }
            next = interface.pointee.ifa_next
        }
        return prefixes
    }

    private static func address(_ pointer: UnsafeMutablePointer<sockaddr>) -> IPAddress? {
        // Safety: the kernel's family says which structure is behind the pointer; fields are read by offset.
        let offset: Int?
        let count: Int
        switch Int32(pointer.pointee.sa_family) {
        case AF_INET: (offset, count) = (MemoryLayout<sockaddr_in>.offset(of: \.sin_addr), 4)
        case AF_INET6: (offset, count) = (MemoryLayout<sockaddr_in6>.offset(of: \.sin6_addr), 16)
        default: return nil
        }
        guard let offset else { return nil }
        return IPAddress(networkBytes: UnsafeRawBufferPointer(start: UnsafeRawPointer(pointer) + offset, count: count))
    }
}
