internal import CorralEvents
internal import CorralPolicy

/// What a record says, for the types whose data the resolver reads; the rest goes through as it came.
enum DNSRecordData: Sendable, Equatable {
    case ipv4(IPAddress)
    /// May be an IPv4 address, written `::ffff:a.b.c.d`.
    case ipv6(IPAddress)
    /// CNAME, NS, PTR, DNAME.
    case name(DNSName)
    /// MX, and SRV and NAPTR: fields, then a name. The flag tells whether the name may be compressed when written.
    case prefixedName([UInt8], DNSName, compressed: Bool)
    case authority(StartOfAuthority)
    /// SVCB, HTTPS.
    case service(ServiceBinding)
    /// Holds no name that could be compressed.
    case opaque([UInt8])
}

/// The data of an SOA record (RFC 1035, section 3.3.13).
struct StartOfAuthority: Sendable, Equatable {
    var server: DNSName
    var mailbox: DNSName
    /// Serial, refresh, retry, expire.
    var timers: [UInt32]
    /// Seconds that a negative answer may be kept, with the record's own TTL as the other bound (RFC 2308, section 5).
    var minimum: UInt32
}

/// One resource record.
struct DNSRecord: Sendable, Equatable {
    var name: DNSName
    var type: DNSRecordType
    /// 1 for IN.
    var recordClass: UInt16
    /// Seconds.
    var ttl: UInt32
    var data: DNSRecordData

    static let internet: UInt16 = 1

    init(name: DNSName, type: DNSRecordType, ttl: UInt32, data: DNSRecordData, recordClass: UInt16 = Self.internet) {
        self.name = name
        self.type = type
        self.recordClass = recordClass
        self.ttl = ttl
        self.data = data
    }

    /// The addresses it gives away, service hints among them.
    var addresses: [IPAddress] {
        switch data {
        case .ipv4(let address), .ipv6(let address): [address]
        case .service(let binding): binding.addresses
        case .name, .prefixedName, .authority, .opaque: []
        }
    }
}

extension DNSRecord {
    init(_ reader: inout DNSReader) throws(DNSError) {
        name = try reader.name()
        type = DNSRecordType(rawValue: try reader.uint16())
        recordClass = try reader.uint16()
        let ttl = try reader.uint32()
        // RFC 2181, section 8: with its most significant bit set, it counts as zero.
        self.ttl = ttl > Int32.max ? 0 : ttl
        let (type, length) = (type, Int(try reader.uint16()))
        data = try reader.within(length) { reader throws(DNSError) in try DNSRecordData(type: type, &reader) }
    }

    func write(to writer: inout DNSWriter) {
        writer.name(name, compressed: true)
        writer.uint16(type.rawValue)
        writer.uint16(recordClass)
        writer.uint32(ttl)
        let start = writer.bytes.count
        writer.uint16(0)
        data.write(to: &writer)
        // Data of more than 65,535 octets cannot come out of a message; what is written grows by its two names at most, and
        // the message is cut before it leaves.
        writer.overwrite(at: start, UInt16(clamping: writer.bytes.count - start - 2))
    }
}

extension DNSRecordData {
    fileprivate init(type: DNSRecordType, _ reader: inout DNSReader) throws(DNSError) {
        switch type {
        case .a: self = .ipv4(try Self.address(4, &reader))
        case .aaaa: self = .ipv6(try Self.address(16, &reader))
        case .cname, .ns, .ptr, .dname: self = .name(try reader.name())
        case .mx: self = .prefixedName(try reader.octets(2), try reader.name(), compressed: true)
        case .srv: self = .prefixedName(try reader.octets(6), try reader.name(), compressed: false)
        case .naptr:
            var prefix = try reader.octets(4)
            // Flags, services, regular expression: character strings (RFC 3403, section 4.1).
            for _ in 0..<3 {
                let length = try reader.uint8()
                prefix.append(length)
                prefix += try reader.octets(Int(length))
            }
            self = .prefixedName(prefix, try reader.name(), compressed: false)
        case .soa:
            let (server, mailbox) = (try reader.name(), try reader.name())
            var timers: [UInt32] = []
            for _ in 0..<4 { timers.append(try reader.uint32()) }
            self = .authority(
                StartOfAuthority(server: server, mailbox: mailbox, timers: timers, minimum: try reader.uint32()))
        case .svcb, .https: self = .service(try ServiceBinding(&reader))
        default: self = .opaque(reader.rest())
        }
    }

    private static func address(_ count: Int, _ reader: inout DNSReader) throws(DNSError) -> IPAddress {
        let octets = reader.rest()
        guard octets.count == count, let address = IPAddress(networkBytes: octets) else { throw .recordData }
        return address
    }

    fileprivate func write(to writer: inout DNSWriter) {
        switch self {
        case .ipv4(let address): writer.octets(address.networkBytes.suffix(4))
        case .ipv6(let address): writer.octets(address.networkBytes)
        case .name(let name): writer.name(name, compressed: true)
        case .prefixedName(let prefix, let name, let compressed):
            writer.octets(prefix)
            writer.name(name, compressed: compressed)
        case .authority(let authority):
            writer.name(authority.server, compressed: true)
            writer.name(authority.mailbox, compressed: true)
            for timer in authority.timers { writer.uint32(timer) }
            writer.uint32(authority.minimum)
        case .service(let binding): binding.write(to: &writer)
        case .opaque(let octets): writer.octets(octets)
        }
    }
}
