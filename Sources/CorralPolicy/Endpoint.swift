/// Where something wants to go, as a person writes it: by address or by name; or what it does with a file.
public enum Endpoint: Sendable, Hashable {
    case address(Destination)
    case name(NamedDestination)
    /// An absolute path; a directory's ends in `/`.
    case path(FileAccess, String)

    /// Why a text is no endpoint.
    public struct ParseError: Error, Sendable, Equatable, CustomStringConvertible {
        public var message: String
        public var description: String {
            "\(message); expected ADDRESS:PORT[/PROTOCOL] or NAME[:PORT][/PROTOCOL], like 203.0.113.9:443/tcp or "
                + "api.example.com:443, or exec:, read: or write: and a path, like read:/etc/shadow"
        }
    }

    /// `203.0.113.9:443`, `203.0.113.9:53/udp`, `[2001:db8::1]:443/tcp`, `203.0.113.9/icmp`, `api.example.com:443`; a name
    /// may do without a port. Protocol tcp unless given. `read:/etc/shadow`, `exec:...`, `write:...`.
    public static func parse(_ text: String) throws(ParseError) -> Endpoint {
        func failure(_ reason: String) -> ParseError { ParseError(message: "\"\(text)\" \(reason)") }
        for access in FileAccess.allCases where text.hasPrefix("\(access.rawValue):/") {
            let path = String(text.dropFirst(access.rawValue.utf8.count + 1))
            if let problem = PathRule.whatIsWrong(with: path) { throw failure(problem) }
            return .path(access, path)
        }
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2 else { throw failure("has more than one /") }
        guard let proto = parts.count == 2 ? IPProtocol(String(parts[1])) : .tcp else {
            throw failure("names a protocol other than tcp, udp and icmp")
        }
        var host = parts[0]
        var portText: Substring?
        if host.hasPrefix("[") {
            guard let end = host.firstIndex(of: "]") else { throw failure("has no ]") }
            let after = host[host.index(after: end)...]
            host = host[host.index(after: host.startIndex)..<end]
            if after.hasPrefix(":") {
                portText = after.dropFirst()
            } else if !after.isEmpty {
                throw failure("goes on after ]")
            }
        } else if let colon = host.firstIndex(of: ":"), host.lastIndex(of: ":") == colon {
            portText = host[host.index(after: colon)...]
            host = host[..<colon]
        }
        var port: UInt16?
        if let portText {
            guard proto != .icmp else { throw failure("has a port, and icmp knows none") }
            port = DecimalText.integer(portText).flatMap { UInt16(exactly: $0) }
            guard let port, port > 0 else { throw failure("has no port of 1...65535") }
        }
        if let address = IPAddress(host) {
            guard port != nil || proto == .icmp else { throw failure("has no port, which \(proto) needs") }
            return .address(Destination(address: address, proto: proto, port: port ?? 0))
        }
        do throws(DomainPattern.ParseError) {
            let pattern = try DomainPattern(String(host))
            guard !pattern.isWildcard else {
                throw DomainPattern.ParseError(message: "names no single destination", expected: "")
            }
            return .name(NamedDestination(name: pattern.name, proto: proto, port: port))
        } catch {
            throw failure("has no IP address, and read as a name it \(error.message)")
        }
    }
}

/// Something that is reached by name.
public struct NamedDestination: Sendable, Hashable {
    /// Lower case, A-labels, no dot at the end.
    public var name: String
    public var proto: IPProtocol
    /// Nil for icmp, and where only the name is asked for.
    public var port: UInt16?

    public init(name: String, proto: IPProtocol = .tcp, port: UInt16? = nil) {
        self.name = name
        self.proto = proto
        self.port = port
    }
}

extension Destination: CustomStringConvertible {
    public var description: String {
        guard proto != .icmp else { return "\(address)/icmp" }
        return address.ipv4 == nil ? "[\(address)]:\(port)/\(proto)" : "\(address):\(port)/\(proto)"
    }
}

extension NamedDestination: CustomStringConvertible {
    public var description: String {
        guard proto != .icmp else { return "\(name)/icmp" }
        return port.map { "\(name):\($0)/\(proto)" } ?? (proto == .tcp ? name : "\(name)/\(proto)")
    }
}

extension Endpoint: CustomStringConvertible {
    public var description: String {
        switch self {
        case .address(let destination): destination.description
        case .name(let destination): destination.description
        case .path(let access, let path): "\(access.rawValue):\(path)"
        }
    }
}
