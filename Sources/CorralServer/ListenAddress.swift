public import CorralPolicy

/// An IP address and a port to serve the API on.
public struct ListenAddress: Sendable, Equatable, CustomStringConvertible {
    public var address: IPAddress
    public var port: Int

    public init(address: IPAddress, port: Int) {
        self.address = address
        self.port = port
    }

    /// `127.0.0.1:7070`, `[::1]:7070`. Nil for all else: names are not looked up.
    public init?(_ text: String) {
        guard let colon = text.lastIndex(of: ":") else { return nil }
        var host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        let isBracketed = host.hasPrefix("[") && host.hasSuffix("]") && host.count > 2
        if isBracketed { host = host.dropFirst().dropLast() }
        guard let address = IPAddress(String(host)), (address.ipv4 == nil) == isBracketed,
            (1...5).contains(digits.utf8.count), digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
            let port = UInt16(digits)
        else { return nil }
        self.init(address: address, port: Int(port))
    }

    /// What is sent there does not leave this host.
    public var isLoopback: Bool {
        if let ipv4 = address.ipv4 { return ipv4 >> 24 == 127 }
        return address.high == 0 && address.low == 1
    }

    public var host: String { address.description }

    public var description: String { address.ipv4 == nil ? "[\(host)]:\(port)" : "\(host):\(port)" }
}
