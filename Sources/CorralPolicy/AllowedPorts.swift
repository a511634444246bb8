/// What may leave to one destination: ports by protocol, without who permits it.
public struct AllowedPorts: Sendable, Hashable {
    /// In order, apart from each other.
    public var tcp: [ClosedRange<UInt16>] = []
    public var udp: [ClosedRange<UInt16>] = []
    public var icmp = false

    static let everyPort: [ClosedRange<UInt16>] = [0...65_535]
    static let everything = AllowedPorts(tcp: everyPort, udp: everyPort, icmp: true)

    init(tcp: [ClosedRange<UInt16>] = [], udp: [ClosedRange<UInt16>] = [], icmp: Bool = false) {
        self.tcp = tcp
        self.udp = udp
        self.icmp = icmp
    }

    /// What a rule permits to those that it covers.
    init(_ rule: EgressRule) {
        let ports = Self.joined(rule.ports ?? Self.everyPort)
        if rule.protocols.contains(.tcp) { tcp = ports }
        if rule.protocols.contains(.udp) { udp = ports }
        icmp = rule.protocols.contains(.icmp)
    }

    /// What a port set permits.
    init(_ entries: [CompiledPolicy.PortEntry]) {
        func allowed(_ proto: IPProtocol) -> [ClosedRange<UInt16>] {
            var blocks = entries.filter { $0.proto == proto }.map { entry in
                let first = UInt128(entry.port)
                return NestedBlock(
                    first: first, last: first + (1 << UInt128(16 - entry.length)) - 1, value: entry.verdict)
            }
            blocks.sort { ($0.first, $1.last) < ($1.first, $0.last) }
            let open = NestedBlock.flattened(blocks).filter { $0.value == .allow }
            return Self.joined(
                open.map { UInt16(truncatingIfNeeded: $0.first)...UInt16(truncatingIfNeeded: $0.last) })
        }
        tcp = allowed(.tcp)
        udp = allowed(.udp)
        icmp = entries.contains { $0.proto == .icmp && $0.verdict == .allow }
    }

    var isNothing: Bool { tcp.isEmpty && udp.isEmpty && !icmp }

    mutating func formUnion(_ other: AllowedPorts) {
        tcp = Self.joined(tcp + other.tcp)
        udp = Self.joined(udp + other.udp)
        icmp = icmp || other.icmp
    }

    func contains(_ other: AllowedPorts) -> Bool {
        func covers(_ outer: [ClosedRange<UInt16>], _ inner: [ClosedRange<UInt16>]) -> Bool {
            inner.allSatisfy { range in
                outer.contains { $0.lowerBound <= range.lowerBound && range.upperBound <= $0.upperBound }
            }
        }
        return covers(tcp, other.tcp) && covers(udp, other.udp) && (icmp || !other.icmp)
    }

    private static func joined(_ ranges: [ClosedRange<UInt16>]) -> [ClosedRange<UInt16>] {
        var result: [ClosedRange<UInt16>] = []
        for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) {
            if let last = result.last, Int(range.lowerBound) <= Int(last.upperBound) + 1 {
                result[result.count - 1] = last.lowerBound...max(last.upperBound, range.upperBound)
            } else {
                result.append(range)
            }
        }
        // Nothing is sent to port 0.
        if result.first == 1...65_535 { return everyPort }
        return result
    }
}

extension AllowedPorts: CustomStringConvertible {
    /// `nothing`, `tcp 443`, `tcp, udp`, `tcp 80, 443; udp 53; icmp`.
    public var description: String {
        if isNothing { return "nothing" }
        func text(_ proto: String, _ ports: [ClosedRange<UInt16>]) -> String? {
            if ports.isEmpty { return nil }
            if ports == Self.everyPort { return proto }
            return proto + " "
                + ports.map { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }
                .joined(separator: ", ")
        }
        let parts = [text("tcp", tcp), text("udp", udp), icmp ? "icmp" : nil].compactMap { $0 }
        return parts.joined(separator: parts.contains { $0.contains(" ") } ? "; " : ", ")
    }
}

/// A block of numbers that others may lie inside; the innermost one counts.
struct NestedBlock<Value> {
    var first: UInt128
    /// Belongs to it.
    var last: UInt128
    var value: Value

    /// As blocks that lie beside each other, in order.
    /// - Parameter blocks: by first number, the wider of two first. One lies inside another or beside it.
    static func flattened(_ blocks: [Self]) -> [Self] {
        var result: [Self] = []
        var open: [Self] = []
        var next: UInt128 = 0
        // Past the last number there is.
        var isDone = false
        func close(through last: UInt128) {
            guard let inner = open.last, !isDone else { return }
            if next <= last { result.append(Self(first: next, last: last, value: inner.value)) }
            (next, isDone) = last.addingReportingOverflow(1)
        }
        for block in blocks {
            while let inner = open.last, inner.last < block.first {
                close(through: inner.last)
                open.removeLast()
            }
            if next < block.first { close(through: block.first - 1) }
            next = block.first
            open.append(block)
        }
        while let inner = open.popLast() {
            open.append(inner)
            close(through: inner.last)
            open.removeLast()
        }
        return result
    }
}
