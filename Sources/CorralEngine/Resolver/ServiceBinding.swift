internal import CorralPolicy

/// The data of an SVCB or HTTPS record (RFC 9460, section 2.2).
struct ServiceBinding: Sendable, Equatable {
    struct Parameter: Sendable, Equatable {
        var key: UInt16
        var value: [UInt8]
    }

    /// SvcParamKeys that the resolver knows (RFC 9460, section 14.3.2).
    enum Key {
        static let mandatory: UInt16 = 0
        static let alpn: UInt16 = 1
        static let noDefaultALPN: UInt16 = 2
        static let port: UInt16 = 3
        static let ipv4Hint: UInt16 = 4
        static let ech: UInt16 = 5
        static let ipv6Hint: UInt16 = 6
    }

    /// 0: an alias for `target`, without parameters that mean anything.
    var priority: UInt16
    /// The root for the record's owner itself.
    var target: DNSName
    /// By rising key, none twice.
    var parameters: [Parameter]

    /// Of the hints.
    var addresses: [IPAddress] {
        parameters.flatMap { Self.addresses($0) ?? [] }
    }

    /// Without parameters that it knows not or that hide the name of the server (`ech`), and with those hints alone that
    /// `mayAnswer` permits. Nil when the record calls mandatory what had to go.
    func screened(_ mayAnswer: (IPAddress) -> Bool) -> ServiceBinding? {
        var kept: [Parameter] = []
        for var parameter in parameters {
            switch parameter.key {
            case Key.mandatory, Key.alpn, Key.noDefaultALPN, Key.port: break
            case Key.ipv4Hint, Key.ipv6Hint:
                let width = parameter.key == Key.ipv4Hint ? 4 : 16
                parameter.value = (Self.addresses(parameter) ?? []).filter(mayAnswer).flatMap {
                    $0.networkBytes.suffix(width)
                }
                if parameter.value.isEmpty { continue }
            default: continue
            }
            kept.append(parameter)
        }
        guard Self.mandatoryKeys(kept).allSatisfy({ key in kept.contains { $0.key == key } }) else { return nil }
        return ServiceBinding(priority: priority, target: target, parameters: kept)
    }

    private static func mandatoryKeys(_ parameters: [Parameter]) -> [UInt16] {
        guard let value = parameters.first(where: { $0.key == Key.mandatory })?.value else { return [] }
        return stride(from: 0, to: value.count - 1, by: 2).map { UInt16(value[$0]) << 8 | UInt16(value[$0 + 1]) }
    }

    /// Of a hint; nil for any other parameter, and for a hint of a length that holds no whole addresses.
    private static func addresses(_ parameter: Parameter) -> [IPAddress]? {
        let width: Int
        switch parameter.key {
        case Key.ipv4Hint: width = 4
        case Key.ipv6Hint: width = 16
        default: return nil
        }
        guard parameter.value.count % width == 0 else { return nil }
        return stride(from: 0, to: parameter.value.count, by: width).compactMap {
            IPAddress(networkBytes: parameter.value[$0..<($0 + width)])
        }
    }
}

extension ServiceBinding {
    /// From the data of a record, to its end.
    init(_ reader: inout DNSReader) throws(DNSError) {
        priority = try reader.uint16()
        target = try reader.name()
        parameters = []
        while !reader.isAtEnd {
            let key = try reader.uint16()
            guard parameters.last.map({ $0.key < key }) ?? true else { throw .recordData }
            let length = Int(try reader.uint16())
            let parameter = Parameter(key: key, value: try reader.octets(length))
            switch key {
            case Key.mandatory:
                guard length > 0, length % 2 == 0 else { throw .recordData }
            case Key.ipv4Hint, Key.ipv6Hint:
                guard length > 0, Self.addresses(parameter) != nil else { throw .recordData }
            default: break
            }
            parameters.append(parameter)
        }
    }

    func write(to writer: inout DNSWriter) {
        writer.uint16(priority)
        writer.name(target, compressed: false)
        for parameter in parameters {
            writer.uint16(parameter.key)
            writer.uint16(UInt16(clamping: parameter.value.count))
            writer.octets(parameter.value)
        }
    }
}
