public import CorralPolicy

/// Which events a reader wants. An empty list accepts all; values of one list are alternatives, all lists must agree.
///
/// A `lost` or `gap` event is judged by its sandbox alone, so that no filter hides that something is missing.
public struct EventFilter: Sendable, Equatable {
    /// The other side of a connection, or a name that was asked: by address or by name.
    public enum Destination: Sendable, Hashable {
        case prefix(IPPrefix)
        /// Lower case; `*.example.org` covers any depth below it and not itself.
        case name(String)
    }

    /// Each a sandbox's id, a beginning of its id that reaches past `sb-`, or its name.
    public var sandboxes: [String]
    public var types: [EventType]
    public var verdicts: [Verdict]
    public var reasons: [Reason]
    public var destinations: [Destination]

    /// Accepts everything.
    public init() {
        self.init(sandboxes: [])
    }

    public init(
        sandboxes: [String], types: [EventType] = [], verdicts: [Verdict] = [], reasons: [Reason] = [],
        destinations: [Destination] = []
    ) {
        self.sandboxes = sandboxes
        self.types = types
        self.verdicts = verdicts
        self.reasons = reasons
        self.destinations = destinations
    }

    public func matches(_ event: Event) -> Bool {
        switch event.body {
        case .lost, .gap: return event.sandbox.map(matches) ?? true
        default: break
        }
        guard sandboxes.isEmpty || event.sandbox.map(matches) == true else { return false }
        guard types.isEmpty || types.contains(event.type) else { return false }
        if !verdicts.isEmpty {
            guard let verdict = event.verdict, verdicts.contains(verdict) else { return false }
        }
        if !reasons.isEmpty {
            guard let reason = event.reason, reasons.contains(reason) else { return false }
        }
        if !destinations.isEmpty {
            guard destinations.contains(where: { $0.matches(event) }) else { return false }
        }
        return true
    }

    /// Whether some event of this type and sandbox may pass.
    public func mayMatch(_ type: EventType, of sandbox: SandboxReference) -> Bool {
        (types.isEmpty || types.contains(type)) && matches(sandbox)
    }

    private func matches(_ sandbox: SandboxReference) -> Bool {
        guard !sandboxes.isEmpty else { return true }
        return sandboxes.contains { wanted in
            wanted == sandbox.id || wanted == sandbox.name
                || (wanted.utf8.count > Self.idPrefix.utf8.count && wanted.hasPrefix(Self.idPrefix)
                    && sandbox.id.hasPrefix(wanted))
        }
    }

    private static let idPrefix = "sb-"
}

extension EventFilter.Destination: LosslessStringConvertible {
    /// A CIDR block, an address, or a DNS name with `*.` before it or not; nil for anything else.
    public init?(_ text: String) {
        if let prefix = IPPrefix(text) {
            self = .prefix(prefix)
            return
        }
        let name = text.lowercased()
        let bare = name.hasPrefix("*.") ? name.dropFirst(2) : name[...]
        let labels = bare.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
        // All digits at the end is an address that IPPrefix refused, not a name (RFC 3696, section 2).
        guard bare.utf8.count <= 253, let last = labels.last, !last.allSatisfy({ (0x30...0x39).contains($0) }),
            labels.allSatisfy({ (1...63).contains($0.count) && $0.allSatisfy(Self.isNameByte) })
        else { return nil }
        self = .name(name)
    }

    public var description: String {
        switch self {
        case .prefix(let prefix): prefix.description
        case .name(let name): name
        }
    }

    /// By the other side of a connection, or by a name that was asked and the addresses that it stands for.
    func matches(_ event: Event) -> Bool {
        switch self {
        case .prefix(let prefix):
            if let remote = event.traffic?.remote { return prefix.contains(remote.ip) }
            guard let query = event.nameQuery else { return false }
            return query.answers.contains(where: prefix.contains) || query.removed.contains(where: prefix.contains)
        case .name(let wanted):
            guard let name = (event.traffic?.remote?.name ?? event.nameQuery?.name)?.lowercased() else { return false }
            return wanted.hasPrefix("*.") ? name.hasSuffix(wanted.dropFirst(1)) : name == wanted
        }
    }

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"),
            UInt8(ascii: "_"):
            true
        default: false
        }
    }
}

/// A filter value that means nothing.
public struct EventFilterError: Error, Sendable, Equatable, CustomStringConvertible {
    public var key: String
    public var value: String
    public var expected: String

    public init(key: String, value: String, expected: String) {
        self.key = key
        self.value = value
        self.expected = expected
    }

    public var description: String { "\(key): \"\(TerminalText.neutralised(value))\" is not \(expected)" }
}

extension EventFilter {
    /// Keys of the query string of `GET /v1/events`, each repeatable.
    public enum Key: String, Sendable, CaseIterable {
        case sandbox
        case type
        case verdict
        case reason
        case dst
    }

    /// From a decoded query string, in any order.
    public init(query: [(String, String)]) throws(EventFilterError) {
        self.init()
        for (name, value) in query {
            guard let key = Key(rawValue: name) else {
                throw EventFilterError(key: "query", value: name, expected: oneOf(Key.allCases.map(\.rawValue)))
            }
            try add(key, value)
        }
    }

    /// Adds one alternative.
    public mutating func add(_ key: Key, _ value: String) throws(EventFilterError) {
        switch key {
        case .sandbox:
            guard (1...63).contains(value.utf8.count), value.utf8.allSatisfy(isReferenceByte) else {
                throw EventFilterError(key: key.rawValue, value: value, expected: "a sandbox's id or name")
            }
            sandboxes.append(value)
        case .type: types.append(try parse(key, value))
        case .verdict: verdicts.append(try parse(key, value))
        case .reason: reasons.append(try parse(key, value))
        case .dst:
            guard let destination = Destination(value) else {
                throw EventFilterError(
                    key: key.rawValue, value: value,
                    expected: "an address, a CIDR block without bits past its length, or a DNS name"
                )
            }
            destinations.append(destination)
        }
    }

    /// What `init(query:)` takes; values are not percent-encoded.
    public var query: [(String, String)] {
        sandboxes.map { (Key.sandbox.rawValue, $0) } + types.map { (Key.type.rawValue, $0.rawValue) }
            + verdicts.map { (Key.verdict.rawValue, $0.rawValue) } + reasons.map { (Key.reason.rawValue, $0.rawValue) }
            + destinations.map { (Key.dst.rawValue, $0.description) }
    }
}

private func parse<Word: RawRepresentable<String> & CaseIterable>(
    _ key: EventFilter.Key, _ value: String
) throws(EventFilterError) -> Word {
    guard let word = Word(rawValue: value) else {
        throw EventFilterError(key: key.rawValue, value: value, expected: oneOf(Word.allCases.map(\.rawValue)))
    }
    return word
}

private func oneOf(_ words: [String]) -> String {
    "one of " + words.joined(separator: ", ")
}

private func isReferenceByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "-"), UInt8(ascii: "_"), UInt8(ascii: "."):
        true
    default: false
    }
}
