internal import CorralEvents
internal import CorralPolicy

/// A sandbox as the resolver knows it. A slot is used again, an epoch never.
struct ResolverClient: Sendable, Hashable {
    var slot: UInt32
    var epoch: UInt64
}

/// What the resolver asks the engine. Called from several threads, never with a lock of the resolver held; no call may wait for
/// the resolver.
protocol ResolverAuthority: Sendable {
    /// Whose address it is; nil: nobody's, the query is dropped unanswered.
    func client(at address: IPAddress) -> ResolverClient?

    /// Whether it still exists: another may have its address by now.
    func isPresent(_ client: ResolverClient) -> Bool

    /// `name`: lower case, no dot at the end.
    func decide(_ name: String, for client: ResolverClient) -> NameDecision

    /// Whether an answer may hold this address: false for private and reserved ones, unless the policy itself rules them.
    func mayAnswer(_ address: IPAddress, for client: ResolverClient) -> Bool

    /// Opens `addresses` to the client by `rules` for `seconds`; returns only when that is in force. When it throws, the answer
    /// does not leave (SERVFAIL). An address stands as the record gave it: one in a NAT64 or 6to4 range is not unwrapped.
    func pin(
        _ addresses: [IPAddress], name: String, rules: [Int], seconds: UInt32, for client: ResolverClient
    ) throws

    func report(_ query: DNSReport, for client: ResolverClient)

    /// One more query of the client, as its budget counts.
    func count(_ client: ResolverClient)

    /// `egress.limits.dnsQueries` of the client's policy; nil: no limit.
    func budget(for client: ResolverClient) -> UInt64?

    /// Whether the client's policy is in mode `audit`: names that it refuses are resolved all the same and reported as
    /// `would_deny`, without a pin.
    func isAudited(_ client: ResolverClient) -> Bool

    /// The server that the program asked when it sent this query; `listener` is the address at which it came in.
    func server(askedBy client: ResolverClient, from source: ResolverPeer, at listener: IPAddress?) -> IPAddress?
}

extension ResolverAuthority {
    func count(_ client: ResolverClient) {}

    func isAudited(_ client: ResolverClient) -> Bool { false }

    func server(askedBy client: ResolverClient, from source: ResolverPeer, at listener: IPAddress?) -> IPAddress? {
        listener
    }
}

/// Where a query came from.
struct ResolverPeer: Sendable, Hashable {
    var address: IPAddress
    var port: UInt16
    var transport: NameQuery.Transport
}

/// One query and what became of it, for the engine to make a `dns` event of.
struct DNSReport: Sendable, Equatable {
    /// Without its `policy`, which the engine adds.
    var query: NameQuery
    /// The rule that decided; nil when none did.
    var rule: RuleReference?
}
